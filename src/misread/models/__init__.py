"""Networks: builds an `nn.Module` from a list of layers with Keras's semantics, and summarises it in a table."""
