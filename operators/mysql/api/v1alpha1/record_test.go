package v1alpha1_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestRecordMirrorsTheContract holds the record of the API to the one that agents keep: what one has and the other has
// not would be lost on its way into etcd.
func TestRecordMirrorsTheContract(t *testing.T) {
	api, contract := map[string]bool{}, map[string]bool{}
	names(reflect.TypeFor[v1alpha1.Record](), "record", api)
	names(reflect.TypeFor[instance.Record](), "record", contract)
	if diff := cmp.Diff(contract, api); diff != "" {
		t.Errorf("the records differ (-contract +API):\n%s", diff)
	}
}

// names collects the JSON names of a struct and of those below it.
func names(structure reflect.Type, path string, into map[string]bool) {
	for structure.Kind() == reflect.Pointer || structure.Kind() == reflect.Slice {
		structure = structure.Elem()
	}
	if structure.Kind() != reflect.Struct {
		return
	}
	for field := range structure.Fields() {
		at := path + "." + field.Tag.Get("json")
		into[at] = true
		names(field.Type, at, into)
	}
}
