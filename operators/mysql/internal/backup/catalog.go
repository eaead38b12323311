package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Catalog is what is stored for one cluster.
type Catalog struct {
	// Fulls are the full backups, oldest first.
	Fulls []Full
	// Pieces are those of the archive, in the order of their numbers.
	Pieces []Piece
	// Mark is the archive's, zero without one.
	Mark Mark
	// Damaged are manifests that cannot be read, with the reason. What they describe is neither used nor deleted.
	Damaged []Damage
	// Loose are objects that no manifest describes: backups under way, or such as were never finished.
	Loose []objectstore.Info
}

// Damage is a manifest that cannot be read.
type Damage struct {
	// Key is the object's name.
	Key string
	// Why is what is wrong with it.
	Why error
}

const (
	// readers is how many manifests are read side by side.
	readers = 16
	// largest bounds a manifest, in bytes: one of a million files is smaller.
	largest = 256 << 20
	// manifest is what the manifest of a full backup is called.
	manifest = "manifest.json"
)

// pieceName is how a piece is called.
var pieceName = regexp.MustCompile(`^[0-9]{12}-[0-9]+-[a-z0-9][-a-z0-9]*$`)

// FullKey returns the name of a full backup's manifest.
func FullKey(cluster, name string) string { return path.Join(cluster, "full", name, manifest) }

// PartKey returns the name of a part of a full backup.
func PartKey(cluster, name string, number int) string {
	return path.Join(cluster, "full", name, fmt.Sprintf("%06d", number))
}

// Name returns the name of the full backup whose manifest it is, "" if it is another.
func (d Damage) Name() string {
	dir, base := path.Split(d.Key)
	folder, name := path.Split(path.Clean(dir))
	if base != manifest || path.Base(folder) != "full" {
		return ""
	}
	return name
}

// Key returns the name of the piece below a cluster's folder; its manifest is called the same, with .json at the end.
func (p Piece) Key(cluster string) string {
	return path.Join(cluster, "binlog", fmt.Sprintf("%012d-%d-%s", p.Number, p.Epoch, p.Instance))
}

// MarkKey returns the name of the archive's mark.
func MarkKey(cluster string) string { return path.Join(cluster, "binlog", "mark.json") }

// Load reads the catalog of a cluster, by the UID that its folder is called after. What is damaged is in the catalog; an error is one of
// the store.
func Load(ctx context.Context, store objectstore.Store, cluster string) (Catalog, error) {
	return load(ctx, store, cluster, "")
}

// LoadFulls reads what there is of full backups, and nothing of the archive, which may have very many pieces.
func LoadFulls(ctx context.Context, store objectstore.Store, cluster string) (Catalog, error) {
	return load(ctx, store, cluster, "full/")
}

// LoadFull reads the manifest of one full backup; found is false if there is none of that name.
func LoadFull(ctx context.Context, store objectstore.Store, cluster, name string) (f Full, found bool, err error) {
	key := FullKey(cluster, name)
	stored, err := contents(ctx, store, key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return Full{}, false, nil
	}
	if err == nil {
		err = f.decode(stored, cluster, name)
	}
	if err != nil {
		return Full{}, false, fmt.Errorf("read %s: %w", key, err)
	}
	return f, true, nil
}

// decode reads the manifest that is stored under a name.
func (f *Full) decode(stored []byte, cluster, name string) error {
	if err := Decode(stored, f); err != nil {
		return err
	}
	if f.Name != name {
		return fmt.Errorf("%w: it describes %s", ErrDamaged, FullKey(cluster, f.Name))
	}
	return nil
}

// load reads the part of a catalog that is below a folder.
func load(ctx context.Context, store objectstore.Store, cluster, below string) (Catalog, error) {
	l := loader{store: store, cluster: cluster, described: map[string]bool{}}
	var objects []objectstore.Info
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for info, err := range store.List(ctx, cluster+"/"+below) {
		if err != nil {
			return Catalog{}, errors.Join(fmt.Errorf("list the backups: %w", err), group.Wait())
		}
		if read := l.reader(info.Key); read != nil {
			group.Go(func() error { return l.read(limited, info.Key, read) })
			continue
		}
		objects = append(objects, info)
	}
	if err := group.Wait(); err != nil {
		return Catalog{}, err
	}
	for _, info := range objects {
		if !l.described[info.Key] && !l.described[path.Dir(info.Key)] {
			l.catalog.Loose = append(l.catalog.Loose, info)
		}
	}
	l.catalog.sort()
	return l.catalog, nil
}

// loader collects a catalog.
type loader struct {
	store   objectstore.Store
	cluster string

	mu      sync.Mutex
	catalog Catalog
	// described are the names of the objects that a manifest describes, and of folders whose objects one may describe.
	described map[string]bool
}

// reader returns what takes the manifest of that name into the catalog, or nil if it is none.
func (l *loader) reader(key string) func(stored []byte) error {
	name := strings.TrimPrefix(key, l.cluster+"/")
	switch dir, base := path.Split(name); {
	case name == "binlog/mark.json":
		return func(stored []byte) error { return Decode(stored, &l.catalog.Mark) }
	case dir == "binlog/" && strings.HasSuffix(base, ".json") && pieceName.MatchString(strings.TrimSuffix(base, ".json")):
		return l.piece(strings.TrimSuffix(key, ".json"))
	case strings.HasPrefix(dir, "full/") && base == manifest && strings.Count(dir, "/") == 2:
		return l.full(key, path.Base(dir))
	}
	return nil
}

func (l *loader) piece(key string) func([]byte) error {
	return func(stored []byte) error {
		l.described[key] = true
		var p Piece
		if err := Decode(stored, &p); err != nil {
			return err
		}
		if p.Key(l.cluster) != key {
			return fmt.Errorf("%w: it describes %s", ErrDamaged, p.Key(l.cluster))
		}
		l.catalog.Pieces = append(l.catalog.Pieces, p)
		return nil
	}
}

func (l *loader) full(key, name string) func([]byte) error {
	return func(stored []byte) error {
		var f Full
		if err := f.decode(stored, l.cluster, name); err != nil {
			return err
		}
		for _, part := range f.Parts {
			l.described[PartKey(l.cluster, name, part.Number)] = true
		}
		l.catalog.Fulls = append(l.catalog.Fulls, f)
		return nil
	}
}

// read reads one manifest.
func (l *loader) read(ctx context.Context, key string, take func([]byte) error) error {
	stored, err := contents(ctx, l.store, key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil // It was deleted meanwhile.
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := take(stored); err != nil {
		l.catalog.Damaged = append(l.catalog.Damaged, Damage{key, err})
		if path.Base(key) == manifest {
			// Nobody knows what it consists of, so that all of its folder may belong to it.
			l.described[path.Dir(key)] = true
		}
	}
	return nil
}

// contents returns a small object.
func contents(ctx context.Context, store objectstore.Store, key string) (stored []byte, err error) {
	body, err := store.Get(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	var buffer bytes.Buffer
	if _, err := io.Copy(&buffer, io.LimitReader(body, largest)); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// sort puts everything in its order.
func (c *Catalog) sort() {
	slices.SortFunc(c.Fulls, func(a, b Full) int { return cmp.Or(a.Finished.Compare(b.Finished), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(c.Pieces, func(a, b Piece) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Instance, b.Instance))
	})
	slices.SortFunc(c.Damaged, func(a, b Damage) int { return cmp.Compare(a.Key, b.Key) })
}

// Reach returns until when a restore can bring the cluster back if nothing is missing: zero without a mark and without pieces.
func (c Catalog) Reach() time.Time {
	reach := c.Mark.At
	for _, p := range c.Pieces {
		if p.Newest.After(reach) {
			reach = p.Newest
		}
	}
	return reach
}
