"""What the services share: messages, the broker's topology, settings and plumbing. Imports no service."""
