"""An exported model for the runtimes of other machines: LiteRT and ONNX Runtime."""
