package mysqld

import "testing"

// TestAnOptionFileSaysHowToConnect: whether MySQL's own programs understand it, a test with a real server shows (package restore).
func TestAnOptionFileSaysHowToConnect(t *testing.T) {
	c, err := Dial("/run/a b/mysqld.sock", "SECRET")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := "[tool]\nuser = kapok_admin\npassword = \"SECRET\"\nsocket = \"/run/a b/mysqld.sock\"\n"
	if got := c.OptionFile("tool"); got != want {
		t.Errorf("got %q", got)
	}
}
