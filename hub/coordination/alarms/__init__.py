"""What people must look at: raised by rules, written down, acknowledged."""
