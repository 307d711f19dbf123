"""What we ask of others over the network, each with limits of our own."""
