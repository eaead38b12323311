// Package binlog reads files in MySQL's binary log format, event by event: which transactions a file holds, where each begins, and
// when it was committed. It believes nothing that its checksum does not confirm, and understands only what it was shown by servers that
// the operator supports; everything else is a FormatError.
package binlog
