"""A checkpoint as an ONNX file that says where it comes from and that has been compared with the checkpoint."""
