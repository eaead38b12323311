// Package archive turns layers into an image and writes it as one tar file that containerd, kind and Docker can load:
// an OCI layout with Docker's manifest beside it.
package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

// Layer is a compressed layer in the cache. It implements the registry library's layer interface without reading the
// file, which is what makes a warm build instant.
type Layer struct {
	// Path is where the zstd-compressed tar lies.
	Path string `json:"-"`
	// Compressed is the hash of the file as it lies there.
	CompressedDigest v1.Hash `json:"digest"`
	// Plain is the hash of the tar inside.
	PlainDigest v1.Hash `json:"diffID"`
	// Bytes is the file's size.
	Bytes int64 `json:"size"`
	// PlainBytes is the size of the tar inside.
	PlainBytes int64 `json:"plainSize"`
	// Libraries names the shared libraries that the layer provides.
	Libraries []string `json:"libraries,omitempty"`
}

// Digest returns the hash of the compressed layer.
func (l Layer) Digest() (v1.Hash, error) { return l.CompressedDigest, nil }

// DiffID returns the hash of the layer's tar.
func (l Layer) DiffID() (v1.Hash, error) { return l.PlainDigest, nil }

// Compressed opens the layer as it lies in the cache.
func (l Layer) Compressed() (io.ReadCloser, error) { return os.Open(l.Path) }

// Uncompressed opens the layer's tar.
func (l Layer) Uncompressed() (io.ReadCloser, error) { return openPlain(l.Path) }

// Size returns the size of the compressed layer.
func (l Layer) Size() (int64, error) { return l.Bytes, nil }

// MediaType tells what the layer's bytes are.
func (l Layer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }

// Config holds an image's run-time defaults.
type Config struct {
	User       string   `json:"user"`
	Entrypoint []string `json:"entrypoint"`
	Command    []string `json:"command"`
	Env        []string `json:"env"`
}

// Image puts layers and defaults together.
func Image(layers []Layer, config Config) (v1.Image, error) {
	adds := make([]mutate.Addendum, 0, len(layers))
	for _, layer := range layers {
		adds = append(adds, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "kapok hack/images", Created: created()}})
	}
	image, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), adds...)
	if err != nil {
		return nil, fmt.Errorf("stack %d layers: %w", len(layers), err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	file = file.DeepCopy()
	file.Created = created()
	file.OS = "linux"
	file.Architecture = runtime.GOARCH
	file.Config = v1.Config{User: config.User, Entrypoint: config.Entrypoint, Cmd: config.Command, Env: config.Env, WorkingDir: "/"}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("set the image's configuration: %w", err)
	}
	return image, nil
}

func created() v1.Time { return v1.Time{Time: time.Unix(tree.Epoch, 0).UTC()} }

// Write emits the image as one archive under the tag. The same image gives the same bytes.
func Write(w io.Writer, tag string, image v1.Image) error {
	reference, err := name.NewTag(tag, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("read the tag: %w", err)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("hash the manifest: %w", err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return fmt.Errorf("hash the configuration: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return fmt.Errorf("list the layers: %w", err)
	}

	out := writer{tar: tar.NewWriter(w)}
	paths := make([]string, 0, len(layers))
	written := map[string]bool{}
	for _, layer := range layers {
		path, err := out.layer(layer, written)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	out.bytes(blob(configDigest), config)
	out.bytes(blob(digest), manifest)
	out.json("manifest.json", []map[string]any{{"Config": blob(configDigest), "RepoTags": []string{reference.Name()}, "Layers": paths}})
	out.json("index.json", v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: digest,
			Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
			// containerd takes the full name from the first annotation, tools of the OCI the short one from the second.
			Annotations: map[string]string{
				"io.containerd.image.name":          reference.Name(),
				"org.opencontainers.image.ref.name": reference.TagStr(),
			},
		}},
	})
	out.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	if out.err != nil {
		return fmt.Errorf("write the archive: %w", out.err)
	}
	if err := out.tar.Close(); err != nil {
		return fmt.Errorf("finish the archive: %w", err)
	}
	return nil
}

func blob(hash v1.Hash) string { return "blobs/" + hash.Algorithm + "/" + hash.Hex }

// writer keeps the first error, so that the list of parts reads as a list.
type writer struct {
	tar *tar.Writer
	err error
}

func (w *writer) layer(layer v1.Layer, written map[string]bool) (path string, err error) {
	digest, err := layer.Digest()
	if err != nil {
		return "", fmt.Errorf("hash a layer: %w", err)
	}
	size, err := layer.Size()
	if err != nil {
		return "", fmt.Errorf("measure a layer: %w", err)
	}
	path = blob(digest)
	if written[path] {
		return path, nil
	}
	written[path] = true
	content, err := layer.Compressed()
	if err != nil {
		return "", fmt.Errorf("open a layer: %w", err)
	}
	defer func() { _ = content.Close() }()
	w.stream(path, size, content)
	return path, nil
}

func (w *writer) json(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.bytes(name, data)
}

func (w *writer) bytes(name string, data []byte) {
	w.stream(name, int64(len(data)), bytes.NewReader(data))
}

func (w *writer) stream(name string, size int64, content io.Reader) {
	if w.err != nil {
		return
	}
	w.err = w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(tree.Epoch, 0), Format: tar.FormatPAX})
	if w.err == nil {
		_, w.err = io.Copy(w.tar, content)
	}
}
