"""The codec: encode and decode. Needs numpy, Pillow, ONNX Runtime and constriction; never torch."""
