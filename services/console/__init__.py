"""What people see of Weir. Holds no provider credential; everything goes by request/reply over the broker."""
