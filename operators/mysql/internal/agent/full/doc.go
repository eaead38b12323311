// Package full takes full backups and unpacks them. A backup begins as a copy that CLONE makes on the data volume: it is the one kind of copy that a
// server of every image can make while it runs. The copy is stored part by part, and each part's files are removed as soon as they are
// stored. So the room that it needs for a while is that of the data, and it is asked for before anything is begun.
package full
