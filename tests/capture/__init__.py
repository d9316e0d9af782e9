"""What processes keep of the messages that cross their boundaries."""
