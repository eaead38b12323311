package gtid

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const (
	a = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	b = "8a94f357-aab4-11df-86ab-c80aa9429444"
)

func parse(t *testing.T, text string) Set {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseGivesTheCanonicalForm(t *testing.T) {
	for name, tc := range map[string]struct{ in, out string }{
		"empty":                        {"", ""},
		"only separators":              {" ,\n, ", ""},
		"one transaction":              {a + ":7", a + ":7"},
		"one-element interval":         {a + ":7-7", a + ":7"},
		"upper case":                   {strings.ToUpper(a) + ":1-3", a + ":1-3"},
		"as mysql prints, line breaks": {a + ":1-3,\n" + b + ":5", a + ":1-3," + b + ":5"},
		"sorted":                       {b + ":5," + a + ":1", a + ":1," + b + ":5"},
		"adjacent intervals merge":     {a + ":4-6:1-3", a + ":1-6"},
		"overlapping intervals merge":  {a + ":1-5:3-9:20", a + ":1-9:20"},
		"same server twice":            {a + ":1," + a + ":2", a + ":1-2"},
		"blanks inside":                {" " + a + " : 1 - 3 : 5 ", a + ":1-3:5"},
		"tag":                          {a + ":blue:1-3", a + ":blue:1-3"},
		"tags after untagged":          {a + ":1-3:Blue:1:3:red:2", a + ":1-3:blue:1:3:red:2"},
		"tag spelled apart":            {a + ":blue:1," + a + ":4", a + ":4:blue:1"},
		"largest number":               {a + ":9223372036854775806", a + ":9223372036854775806"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, tc.in).String(); got != tc.out {
				t.Errorf("Parse(%q) = %q, want %q", tc.in, got, tc.out)
			}
		})
	}
}

func TestParseRefusesWhatIsNoSet(t *testing.T) {
	for name, in := range map[string]string{
		"no uuid":             "foo:1",
		"uuid without number": a,
		"uuid with colon":     a + ":",
		"zero":                a + ":0",
		"negative":            a + ":-5",
		"reversed":            a + ":5-3",
		"open interval":       a + ":5-",
		"too large":           a + ":9223372036854775807",
		"plus sign":           a + ":+5",
		"hyphens misplaced":   "3e11fa4771-ca-11e1-9e33-c80aa9429562:1",
		"not hexadecimal":     "ze11fa47-71ca-11e1-9e33-c80aa9429562:1",
		"tag without number":  a + ":1:blue",
		"two tags in a row":   a + ":blue:red:1",
		"tag too long":        a + ":" + strings.Repeat("x", 33) + ":1",
		"trailing garbage":    a + ":1-3 and more",
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Parse(in); err == nil {
				t.Errorf("Parse(%q) = %q, want an error", in, s)
			}
		})
	}
}

func TestAlgebra(t *testing.T) {
	for name, tc := range map[string]struct{ x, y, union, intersect, subtract string }{
		"both empty":        {"", "", "", "", ""},
		"right empty":       {a + ":1-3", "", a + ":1-3", "", a + ":1-3"},
		"left empty":        {"", a + ":1-3", a + ":1-3", "", ""},
		"equal":             {a + ":1-3", a + ":1-3", a + ":1-3", a + ":1-3", ""},
		"hole in middle":    {a + ":1-9", a + ":4-6", a + ":1-9", a + ":4-6", a + ":1-3:7-9"},
		"ahead":             {a + ":1-9", a + ":1-6", a + ":1-9", a + ":1-6", a + ":7-9"},
		"many holes":        {a + ":1-20", a + ":2:4:6-8:30", a + ":1-20:30", a + ":2:4:6-8", a + ":1:3:5:9-20"},
		"one cut, two runs": {a + ":1-3:7-9", a + ":3-7", a + ":1-9", a + ":3:7", a + ":1-2:8-9"},
		"other server":      {a + ":1", b + ":1", a + ":1," + b + ":1", "", a + ":1"},
		"tag is apart":      {a + ":1", a + ":t:1", a + ":1:t:1", "", a + ":1"},
	} {
		t.Run(name, func(t *testing.T) {
			x, y := parse(t, tc.x), parse(t, tc.y)
			if got := x.Union(y).String(); got != tc.union {
				t.Errorf("Union = %q, want %q", got, tc.union)
			}
			if got := x.Intersect(y).String(); got != tc.intersect {
				t.Errorf("Intersect = %q, want %q", got, tc.intersect)
			}
			if got := x.Subtract(y).String(); got != tc.subtract {
				t.Errorf("Subtract = %q, want %q", got, tc.subtract)
			}
			if x.String() != tc.x || y.String() != tc.y {
				t.Errorf("an operand was changed: %q, %q", x, y)
			}
		})
	}
}

func TestContains(t *testing.T) {
	big, small := parse(t, a+":1-9:20,"+b+":1"), parse(t, a+":2-5:20")
	if !big.Contains(small) || small.Contains(big) || !small.IsSubset(big) || big.IsSubset(small) {
		t.Error("containment is wrong")
	}
	if !big.Contains(Set{}) || (Set{}).Contains(small) || !(Set{}).Contains(Set{}) {
		t.Error("containment of the empty set is wrong")
	}
	if !big.Equal(parse(t, big.String())) || big.Equal(small) || !(Set{}).Equal(parse(t, "")) {
		t.Error("equality is wrong")
	}
	if small.Equal(parse(t, a+":2-5:21")) {
		t.Error("sets of equal shape are taken for equal")
	}
	if got := big.Count(); got != 11 {
		t.Errorf("Count = %d, want 11", got)
	}
	if got := fmt.Sprint(big.Servers()); got != "["+a+" "+b+"]" {
		t.Errorf("Servers = %s", got)
	}
}

// TestAlgebraAgreesWithNaiveSets compares every operation with the same one on plain sets of single transactions.
func TestAlgebraAgreesWithNaiveSets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type naive map[string]bool
	random := func() (Set, naive) {
		plain, text := naive{}, ""
		for range rng.IntN(8) {
			prefix := []string{a + ":", b + ":", a + ":t:"}[rng.IntN(3)]
			first := 1 + rng.IntN(30)
			last := first + rng.IntN(6)
			text += fmt.Sprintf("%s%d-%d,", prefix, first, last)
			for n := first; n <= last; n++ {
				plain[fmt.Sprintf("%s%d", prefix, n)] = true
			}
		}
		return parse(t, text), plain
	}
	build := func(plain naive, keep func(string) bool) Set {
		var parts []string
		for g := range plain {
			if keep(g) {
				parts = append(parts, g)
			}
		}
		return parse(t, strings.Join(parts, ","))
	}
	for range 3000 {
		x, px := random()
		y, py := random()
		both := naive{}
		for g := range px {
			both[g] = true
		}
		for g := range py {
			both[g] = true
		}
		if got, want := x.Union(y), build(both, func(string) bool { return true }); !got.Equal(want) {
			t.Fatalf("%s union %s = %s, want %s", x, y, got, want)
		}
		if got, want := x.Intersect(y), build(both, func(g string) bool { return px[g] && py[g] }); !got.Equal(want) {
			t.Fatalf("%s intersect %s = %s, want %s", x, y, got, want)
		}
		if got, want := x.Subtract(y), build(px, func(g string) bool { return !py[g] }); !got.Equal(want) {
			t.Fatalf("%s subtract %s = %s, want %s", x, y, got, want)
		}
		if x.Count() != uint64(len(px)) {
			t.Fatalf("%s counts %d, want %d", x, x.Count(), len(px))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", a + ":1-3:5", a + ":t:1-3," + b + ":9", a + ":1:1:1", ",,", a + ":5-3", "x"} {
		f.Add(seed, a+":2-4")
	}
	f.Fuzz(func(t *testing.T, left, right string) {
		x, err := Parse(left)
		if err != nil {
			return
		}
		again, err := Parse(x.String())
		if err != nil || !again.Equal(x) || again.String() != x.String() {
			t.Fatalf("%q does not survive being printed: %q, %v", left, x, err)
		}
		y, err := Parse(right)
		if err != nil {
			return
		}
		union, common, rest := x.Union(y), x.Intersect(y), x.Subtract(y)
		switch {
		case !union.Contains(x) || !union.Contains(y):
			t.Fatal("the union lacks an operand")
		case !x.Contains(common) || !y.Contains(common):
			t.Fatal("the intersection is no subset")
		case !rest.Intersect(y).IsEmpty():
			t.Fatal("the difference meets what was taken away")
		case !rest.Union(common).Equal(x):
			t.Fatal("difference and intersection do not make the whole")
		case union.String() != y.Union(x).String():
			t.Fatal("union is not commutative")
		}
	})
}

func TestHolds(t *testing.T) {
	s := parse(t, a+":2-4:7:9-10,"+b+":1,"+a+":tag:20-30")
	for n, want := range map[uint64]bool{1: false, 2: true, 3: true, 4: true, 5: false, 7: true, 8: false, 9: true, 10: true, 11: false, 25: false} {
		if got := s.Holds(a, n); got != want {
			t.Errorf("Holds(%d) = %v, want %v", n, got, want)
		}
	}
	if s.Holds(b, 2) || !s.Holds(b, 1) || (Set{}).Holds(a, 1) {
		t.Error("another server's transactions are confused")
	}
}
