package trim

import (
	"encoding/binary"
)

// previous reads the set of all transactions in earlier files and calls visit for each run of numbers. ok is false if the
// event does not have the form that is known, as that of tagged transactions.
func previous(body []byte, visit func(server string, first, last uint64)) (ok bool) {
	if len(body) < 8 {
		return false
	}
	servers := binary.LittleEndian.Uint64(body)
	body = body[8:]
	// A server takes 24 bytes at least. The form with tags has a mark where this one has the upper bytes of the count.
	if servers > uint64(len(body)/24) {
		return false
	}
	for range servers {
		if len(body) < 24 {
			return false
		}
		server, runs := uuid(body[:16]), binary.LittleEndian.Uint64(body[16:24])
		body = body[24:]
		if runs > uint64(len(body)/16) {
			return false
		}
		for range runs {
			first, end := binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:])
			if first == 0 || end <= first {
				return false
			}
			visit(server, first, end-1)
			body = body[16:]
		}
	}
	return len(body) == 0
}
