"""Networks: a list of layers with Keras's semantics, made into an `nn.Module`, and the table that sums it up."""
