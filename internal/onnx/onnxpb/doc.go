// Package onnxpb is ONNX's file format: onnx.proto of the Python package onnx 1.23.2 (Apache-2.0), compiled by
// protoc-gen-go v1.36.11 (protoc of grpcio-tools 1.85.1). Two lines of onnx.proto are changed, neither of which shows in
// a file: its package has our name, since two packages of one name cannot be in one Go program, and the option of
// protobuf's lite runtime is gone.
package onnxpb

//go:generate python3 -m grpc_tools.protoc -I. --go_out=. --go_opt=Monnx.proto=github.com/deeplora/deeplora/internal/onnx/onnxpb --go_opt=paths=source_relative onnx.proto
