"""What is free, who can make this, when and where: searches, offers, transport."""
