package manager

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxShards keeps the renewals of all shards within what one Lease bears.
const maxShards = 100

// Shard says on which part of the objects a process works. The zero value works
// on all of them.
type Shard struct {
	// Count is the number of shards. Up to 1 there is only one, and nothing is
	// different from an operator that knows no shards.
	Count int
	// Index is the shard of this process, from 0 to Count-1.
	Index int
}

// BindShardFlags binds the shard to flags. It is not part of BindFlags: only an
// operator whose reconcilers have all gone through Manager.Sharded, and that does
// nothing else as a leader which must be done once, offers them.
func BindShardFlags(fs *flag.FlagSet, s *Shard) {
	s.Count = 1
	fs.Func("shards", "`number` of shards that share the objects; a change takes effect when no process with another number is left (default 1)", func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("is not a whole number")
		}
		if n < 1 || n > maxShards {
			return fmt.Errorf("must be 1 to %d", maxShards)
		}
		s.Count = n
		return nil
	})
	fs.IntVar(&s.Index, "shard", 0, "which of the -shards this process is, counted from 0")
}

// divided says whether there is more than one shard.
func (s Shard) divided() bool { return s.Count > 1 }

func (s Shard) validate(election bool) error {
	switch {
	case s.Count < 0 || s.Count > maxShards:
		return fmt.Errorf("-shards is %d, and must be 1 to %d", s.Count, maxShards)
	case s.Index < 0 || s.Index >= max(s.Count, 1):
		return fmt.Errorf("-shard is %d, and with -shards=%d it must be 0 to %d", s.Index, max(s.Count, 1), max(s.Count, 1)-1)
	case s.divided() && !election:
		return fmt.Errorf("-shards=%d needs -leader-election: without it nothing keeps two processes from the same object", s.Count)
	}
	return nil
}

// Owns says whether an object belongs to this shard. The name decides and not the
// UID, because a reconcile knows nothing else of an object that is gone, and
// because an object that is made again under its name stays where it was. The hash
// is a cryptographic one since simpler ones show patterns of the names: the lowest
// bit of FNV is that of the letters, so that with two shards every object that is
// called like its namespace would belong to the first.
func (s Shard) Owns(key types.NamespacedName) bool {
	if !s.divided() {
		return true
	}
	sum := sha256.Sum256([]byte(key.Namespace + "/" + key.Name))
	return binary.BigEndian.Uint64(sum[:])%uint64(s.Count) == uint64(s.Index)
}

// Strip returns a transform for the cache that leaves of other shards' objects no
// more than what they are called, and gives this shard's to next, which may be nil.
// Root names the object whose reconcile an object belongs to: itself, or its owner
// (Controlled). Others' objects are still read from the API server and decoded,
// and are found empty by whoever lists: the API server cannot select by a hash.
func (s Shard) Strip(root func(client.Object) types.NamespacedName, next toolscache.TransformFunc) toolscache.TransformFunc {
	if !s.divided() {
		return next
	}
	return func(in any) (any, error) {
		obj, ok := in.(client.Object)
		if !ok || s.Owns(root(obj)) {
			if next == nil {
				return in, nil
			}
			return next(in)
		}
		return husk(obj), nil
	}
}

// Controlled returns the object that controls obj, or obj itself if none does.
func Controlled(obj client.Object) types.NamespacedName {
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil {
		return types.NamespacedName{Namespace: obj.GetNamespace(), Name: owner.Name}
	}
	return client.ObjectKeyFromObject(obj)
}

// husk is an object of the same type with nothing but its identity and version.
func husk(obj client.Object) client.Object {
	out := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(client.Object)
	out.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	out.SetNamespace(obj.GetNamespace())
	out.SetName(obj.GetName())
	out.SetUID(obj.GetUID())
	out.SetResourceVersion(obj.GetResourceVersion())
	return out
}
