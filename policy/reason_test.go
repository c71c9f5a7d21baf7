package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// Every code is explained, once.
func TestMeanings(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(map[Code]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if ident, ok := spec.Type.(*ast.Ident); ok && ident.Name == "Code" {
				code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes[Code(code)] = true
			}
		}
		return true
	})
	if len(codes) != len(Meanings) {
		t.Errorf("%d codes, %d meanings", len(codes), len(Meanings))
	}
	for code := range codes {
		if code.Meaning() == "" {
			t.Errorf("%s is not explained", code)
		}
	}
}
