"""What people see of a run: web page, status topics, command log."""
