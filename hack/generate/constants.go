package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// group is one block of constants with its comment.
type group struct {
	doc    string
	values []value
}

// value is a constant of strings with its comment.
type value struct {
	name, text, doc string
}

// constants reads the blocks of string constants of a Go package, in the order of files and lines. Constants may refer to
// each other by + only.
func constants(folder string) ([]group, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("find the sources of %s: %w", folder, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("find the sources of %s: there are none", folder)
	}
	slices.Sort(files)
	known := map[string]string{}
	var blocks []*ast.GenDecl
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", file, err)
		}
		for _, declaration := range parsed.Decls {
			if block, ok := declaration.(*ast.GenDecl); ok && block.Tok == token.CONST {
				blocks = append(blocks, block)
			}
		}
	}
	// Twice, because a constant may refer to one of a later file.
	for range 2 {
		for _, block := range blocks {
			collect(block, known)
		}
	}
	var groups []group
	for _, block := range blocks {
		if found := collect(block, known); len(found.values) > 0 {
			groups = append(groups, found)
		}
	}
	return groups, nil
}

// collect reads one block and adds its constants to those known.
func collect(block *ast.GenDecl, known map[string]string) group {
	found := group{doc: strings.TrimSpace(block.Doc.Text())}
	for _, spec := range block.Specs {
		declared, ok := spec.(*ast.ValueSpec)
		if !ok || len(declared.Names) != 1 || len(declared.Values) != 1 {
			continue
		}
		text, ok := evaluate(declared.Values[0], known)
		if !ok {
			continue
		}
		name := declared.Names[0].Name
		known[name] = text
		found.values = append(found.values, value{name: name, text: text, doc: sentence(name, declared.Doc.Text())})
	}
	return found
}

// evaluate returns the text of a string expression.
func evaluate(expression ast.Expr, known map[string]string) (string, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		return constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0)), true
	case *ast.Ident:
		text, ok := known[e.Name]
		return text, ok
	case *ast.BinaryExpr:
		left, okLeft := evaluate(e.X, known)
		right, okRight := evaluate(e.Y, known)
		return left + right, okLeft && okRight && e.Op == token.ADD
	default:
		return "", false
	}
}

// sentence drops the constant's name from the head of its comment, with the colon or the space behind it.
func sentence(name, doc string) string {
	doc = strings.TrimSpace(doc)
	rest, ok := strings.CutPrefix(doc, name)
	if !ok {
		return doc
	}
	rest = strings.TrimSpace(strings.TrimPrefix(rest, ":"))
	// The server's name is never capitalised.
	if rest == "" || strings.HasPrefix(rest, "mysqld ") {
		return rest
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}
