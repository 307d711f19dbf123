"""Services that ours is measured beside; each runs in a process, and where it says so in an environment, of its own."""
