// Package build makes layers, root file systems and image archives from recipes, and keeps each in the cache under the
// hash of what it was made from.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kapok-operators/kapok/hack/images/internal/archive"
	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/debian"
	"github.com/kapok-operators/kapok/hack/images/internal/progress"
	"github.com/kapok-operators/kapok/hack/images/internal/recipe"
	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

// format is part of every key; raise it when the way of building changes the result.
const format = 2

// Builder builds. Callers hold the cache's lock.
type Builder struct {
	cache cache.Dir
	log   *progress.Log
	// refreshed tells which suites' package lists are known to be fresh, so that one run fetches each at most once.
	refreshed map[string]bool
}

// New makes a builder.
func New(dir cache.Dir, log *progress.Log) *Builder {
	return &Builder{cache: dir, log: log, refreshed: map[string]bool{}}
}

// stack is an image's layers with their closures, resolved but not built.
type stack struct {
	recipes  []recipe.Layer
	packages [][]debian.Package
}

// layerKey is what a layer's content depends on.
type layerKey struct {
	Format   int              `json:"format"`
	Recipe   recipe.Layer     `json:"recipe"`
	Packages []debian.Package `json:"packages"`
	// Below names the libraries of the layers below, against which the layer was checked.
	Below []string `json:"below"`
}

// Refresh forgets resolved closures, so that the next build takes the newest packages.
func (b *Builder) Refresh(ctx context.Context, names ...string) error {
	for _, name := range names {
		image, err := recipe.Find(name)
		if err != nil {
			return err
		}
		for _, layer := range image.Layers {
			if err := b.refreshSuite(ctx, layer.Suite); err != nil {
				return err
			}
			path, err := b.closurePath(layer)
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("forget the closure of layer %s: %w", layer.Name, err)
			}
		}
	}
	return nil
}

func (b *Builder) refreshSuite(ctx context.Context, suite string) error {
	if b.refreshed[suite] {
		return nil
	}
	if err := debian.NewSuite(suite, b.cache, b.log).Update(ctx); err != nil {
		return err
	}
	b.refreshed[suite] = true
	return nil
}

// layers builds, or finds, the layers of an image.
func (b *Builder) layers(ctx context.Context, image recipe.Image) ([]archive.Layer, error) {
	layers, err := b.tryLayers(ctx, image)
	if !errors.Is(err, debian.ErrGone) || ctx.Err() != nil {
		return layers, err
	}
	// sid moves: a version that was resolved earlier may have left the mirror. One fresh look settles it.
	b.log.Step("%v; trying once more with a fresh package list", err)
	if err := b.Refresh(ctx, image.Name); err != nil {
		return nil, err
	}
	return b.tryLayers(ctx, image)
}

func (b *Builder) tryLayers(ctx context.Context, image recipe.Image) ([]archive.Layer, error) {
	resolved, err := b.resolve(ctx, image.Layers)
	if err != nil {
		return nil, err
	}
	layers := make([]archive.Layer, 0, len(resolved.recipes))
	var libraries []string
	for i, layer := range resolved.recipes {
		built, err := b.layer(ctx, layer, resolved.packages[i], libraries)
		if err != nil {
			return nil, fmt.Errorf("build layer %s: %w", layer.Name, err)
		}
		layers = append(layers, built)
		libraries = append(libraries, built.Libraries...)
	}
	return layers, nil
}

// resolve finds each layer's packages less those of the layers below it.
func (b *Builder) resolve(ctx context.Context, recipes []recipe.Layer) (stack, error) {
	resolved := stack{recipes: recipes}
	for _, layer := range recipes {
		closure, err := b.closure(ctx, layer)
		if err != nil {
			return stack{}, fmt.Errorf("resolve layer %s: %w", layer.Name, err)
		}
		resolved.packages = append(resolved.packages, debian.Without(closure, layer.Without, resolved.packages...))
	}
	return resolved, nil
}

func (b *Builder) closurePath(layer recipe.Layer) (string, error) {
	key, err := cache.Key([]any{format, layer.Suite, layer.Packages})
	if err != nil {
		return "", err
	}
	return b.cache.Path("closures", layer.Name+"-"+key+".json"), nil
}

func (b *Builder) closure(ctx context.Context, layer recipe.Layer) ([]debian.Package, error) {
	path, err := b.closurePath(layer)
	if err != nil {
		return nil, err
	}
	var closure []debian.Package
	found, err := cache.ReadJSON(path, &closure)
	if err != nil || found {
		return closure, err
	}
	if err := debian.Preflight(); err != nil {
		return nil, err
	}
	closure, err = debian.NewSuite(layer.Suite, b.cache, b.log).Closure(ctx, layer.Packages)
	if err != nil {
		return nil, err
	}
	return closure, cache.WriteJSON(path, closure)
}

func (b *Builder) layer(ctx context.Context, layer recipe.Layer, packages []debian.Package, below []string) (archive.Layer, error) {
	key, err := cache.Key(layerKey{Format: format, Recipe: layer, Packages: packages, Below: below})
	if err != nil {
		return archive.Layer{}, err
	}
	return b.cached(layer.Name, key, func(w io.Writer) ([]string, error) {
		if err := debian.Preflight(); err != nil {
			return nil, err
		}
		suite := debian.NewSuite(layer.Suite, b.cache, b.log)
		if err := suite.Fetch(ctx, packages); err != nil {
			return nil, err
		}
		b.log.Step("assembling layer %s from %d packages", layer.Name, len(packages))
		files, err := tree.New(string(b.cache))
		if err != nil {
			return nil, err
		}
		defer func() { _ = files.Close() }()
		for _, pkg := range packages {
			err := suite.Contents(ctx, pkg, func(r io.Reader) error { return files.AddTar(r, layer.Filter) })
			if err != nil {
				return nil, err
			}
		}
		if err := finish(files, layer); err != nil {
			return nil, err
		}
		libraries, err := checkLibraries(files, below)
		if err != nil {
			return nil, err
		}
		return libraries, files.Write(w)
	})
}

// finish adds what the recipe says beside the packages' own files.
func finish(files *tree.Tree, layer recipe.Layer) error {
	for _, dir := range layer.Dirs {
		files.Dir(dir.Path, dir.Mode, dir.UID, dir.GID)
	}
	for name, target := range layer.Links {
		files.Link(name, target)
	}
	for _, file := range layer.Files {
		if err := files.File(file.Path, file.Mode, 0, 0, strings.NewReader(file.Content)); err != nil {
			return err
		}
	}
	if !layer.Certificates {
		return nil
	}
	var bundle []io.Reader
	for _, name := range files.Files() {
		if matched, err := path.Match("usr/share/ca-certificates/mozilla/*.crt", name); err != nil || !matched {
			continue
		}
		certificate, err := files.Open(name)
		if err != nil {
			return err
		}
		bundle = append(bundle, certificate)
	}
	if len(bundle) == 0 {
		return errors.New("no certificate authorities among the packages")
	}
	return files.File("etc/ssl/certs/ca-certificates.crt", 0o644, 0, 0, io.MultiReader(bundle...))
}

// cached returns the layer stored under the key, or makes and stores it.
func (b *Builder) cached(name, key string, fill func(io.Writer) ([]string, error)) (archive.Layer, error) {
	stored := b.cache.Path("layers", name+"-"+key+".tar.zst")
	described := strings.TrimSuffix(stored, ".tar.zst") + ".json"
	var layer archive.Layer
	found, err := cache.ReadJSON(described, &layer)
	if err != nil {
		return archive.Layer{}, err
	}
	if info, statErr := os.Stat(stored); found && statErr == nil && info.Size() == layer.Bytes {
		layer.Path = stored
		return layer, nil
	}
	var libraries []string
	layer, err = archive.Compress(stored, func(w io.Writer) error {
		var err error
		libraries, err = fill(w)
		return err
	})
	if err != nil {
		return archive.Layer{}, err
	}
	layer.Libraries = libraries
	b.log.Step("layer %s: %.1f MB, %.1f MB compressed", name, float64(layer.PlainBytes)/1e6, float64(layer.Bytes)/1e6)
	return layer, cache.WriteJSON(described, layer)
}

// Rootfs unpacks an image's layers and returns the folder.
func (b *Builder) Rootfs(ctx context.Context, image recipe.Image) (string, error) {
	if len(image.Layers) == 0 {
		return "", fmt.Errorf("image %s holds a single binary and has no root file system", image.Name)
	}
	layers, err := b.layers(ctx, image)
	if err != nil {
		return "", err
	}
	key, err := cache.Key([]any{format, wrapperText, digests(layers)})
	if err != nil {
		return "", err
	}
	dir := b.cache.Path("rootfs", image.Name+"-"+key)
	if cache.Exists(dir) {
		return dir, nil
	}
	b.log.Step("unpacking the root file system of %s", image.Name)
	err = cache.CreateDir(dir, func(temp string) error {
		for _, layer := range layers {
			if err := archive.Extract(layer, temp); err != nil {
				return err
			}
		}
		return writeWrappers(temp)
	})
	if err != nil {
		return "", fmt.Errorf("unpack the root file system of %s: %w", image.Name, err)
	}
	b.log.Step("root file system of %s is ready", image.Name)
	return dir, nil
}

func digests(layers []archive.Layer) []string {
	all := make([]string, 0, len(layers))
	for _, layer := range layers {
		all = append(all, layer.CompressedDigest.String())
	}
	return all
}

// Archive builds the image's archive in the cache and returns its path.
func (b *Builder) Archive(ctx context.Context, image recipe.Image) (string, error) {
	layers, err := b.imageLayers(ctx, image)
	if err != nil {
		return "", err
	}
	config := archive.Config{User: image.User, Entrypoint: image.Entrypoint, Command: image.Command, Env: image.Env}
	return b.write(image.Name, image.Tag, layers, config)
}

func (b *Builder) imageLayers(ctx context.Context, image recipe.Image) ([]archive.Layer, error) {
	if image.Name == recipe.Pause {
		return b.pauseLayers(ctx)
	}
	return b.layers(ctx, image)
}

func (b *Builder) write(name, tag string, layers []archive.Layer, config archive.Config) (string, error) {
	key, err := cache.Key([]any{format, tag, digests(layers), config})
	if err != nil {
		return "", err
	}
	path := b.cache.Path("archives", name+"-"+key+".tar")
	if cache.Exists(path) {
		return path, nil
	}
	image, err := archive.Image(layers, config)
	if err != nil {
		return "", fmt.Errorf("put image %s together: %w", name, err)
	}
	err = cache.WriteFile(path, func(w io.Writer) error { return archive.Write(w, tag, image) })
	if err != nil {
		return "", fmt.Errorf("write image %s: %w", name, err)
	}
	return path, nil
}

// Place puts a cached archive at the path that the user asked for, without copying where the file system allows.
func Place(archivePath, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("create the output folder: %w", err)
	}
	from, err := os.Stat(archivePath)
	if err != nil {
		return fmt.Errorf("find the archive: %w", err)
	}
	if there, err := os.Stat(target); err == nil && os.SameFile(from, there) {
		return nil
	}
	temp := target + ".part"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear %s: %w", temp, err)
	}
	if os.Link(archivePath, temp) == nil {
		if err := os.Rename(temp, target); err != nil {
			return fmt.Errorf("put %s in place: %w", target, err)
		}
		return nil
	}
	source, err := os.Open(archivePath)
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer func() { _ = source.Close() }()
	return cache.WriteFile(target, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
}

// Names expands "all" and checks that every name is known.
func Names(arguments []string) ([]recipe.Image, error) {
	if slices.Contains(arguments, "all") {
		return recipe.Images(), nil
	}
	images := make([]recipe.Image, 0, len(arguments))
	for _, name := range arguments {
		image, err := recipe.Find(name)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}
