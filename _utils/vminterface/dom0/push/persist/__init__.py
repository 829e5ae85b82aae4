"""What qubesd keeps of a VM's settings over its restart."""
