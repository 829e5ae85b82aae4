"""What runs the services: call, caller, programs, and their installation."""
