"""The fast kernels: chains of convolutions and dense layers, trained and applied in compiled code on the CPU."""
