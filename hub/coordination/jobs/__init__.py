"""What is to be made, what is being made where, and how far it is."""
