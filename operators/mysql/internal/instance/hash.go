package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// WithID returns the directive with its ID set from its content.
func (d Directive) WithID() Directive {
	d.ID = ""
	d.ID = digest(d)
	return d
}

// ConfigHash names a configuration; equal configurations have equal names.
func ConfigHash(config map[string]string, bufferPoolBytes int64) string {
	if len(config) == 0 {
		config = nil // No options are the same whether they were asked for or not.
	}
	return digest(struct {
		Config map[string]string
		Pool   int64
	}{config, bufferPoolBytes})
}

// digest hashes v's JSON form, which is stable: struct fields in order, map keys sorted.
func digest(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("instance: a contract type cannot be encoded: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}
