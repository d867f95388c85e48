"""Every performance figure that the project quotes, from one command."""
