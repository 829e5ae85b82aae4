"""What VMs have now, as a pillar that changes nothing when it is pushed back."""
