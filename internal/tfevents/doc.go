// Package tfevents writes scalars as TensorBoard's event files, and goes on with files that are there already. It knows
// nothing of what the scalars mean.
//
// An event file is a sequence of records, each the length of its data (8 bytes, little-endian), a masked CRC-32C of that
// length, the data, and a masked CRC-32C of the data. The data are a protocol buffer of type Event. Source: TensorFlow's
// tsl/lib/io/record_writer.h, core/util/event.proto and core/framework/summary.proto.
package tfevents
