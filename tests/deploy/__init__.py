"""What is in deploy/ is taken by what it is for, names what exists, and keeps the laws of the deployment."""
