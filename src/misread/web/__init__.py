"""What pages in a browser are made of: components, the network in JavaScript, and the files that they read."""
