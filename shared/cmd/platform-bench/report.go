package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// distribution sums up samples; nothing is left out, and the unit is in the name of the field that holds it.
type distribution struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// distributionOf returns the nearest-rank percentiles.
func distributionOf(samples []float64) distribution {
	if len(samples) == 0 {
		return distribution{}
	}
	s := slices.Sorted(slices.Values(samples))
	at := func(p float64) float64 { return s[max(int(math.Ceil(p*float64(len(s))))-1, 0)] }
	return distribution{Count: len(s), P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: s[len(s)-1]}
}

// report is platform.json. A part that was not reached is missing.
type report struct {
	Objects  int             `json:"objects"`
	Complete bool            `json:"complete"`
	Memory   *memoryPart     `json:"memory,omitempty"`
	Steady   *steadyPart     `json:"steady,omitempty"`
	Queue    []queuePart     `json:"queue,omitempty"`
	Restart  []restartPart   `json:"apiServerRestart,omitempty"`
	Kills    []float64       `json:"leaderKilledSeconds,omitempty"`
	Takeover *distribution   `json:"takeoverSeconds,omitempty"`
	Shards   []shardPart     `json:"shards,omitempty"`
	Settling *settlingFigure `json:"settling,omitempty"`
}

type settlingFigure struct {
	// Seconds is from the operator's start until the last object was reconciled and had its ConfigMap.
	Seconds    float64 `json:"seconds"`
	Reconciles int     `json:"reconciles"`
	Gets       int     `json:"liveGets"`
	Writes     int     `json:"writes"`
}

type memoryPart struct {
	EmptyHeapBytes    uint64  `json:"emptyHeapBytes"`
	EmptyRSSBytes     uint64  `json:"emptyRSSBytes"`
	HeapInUseBytes    uint64  `json:"heapInUseBytes"`
	RSSBytes          uint64  `json:"rssBytes"`
	FreshHeapBytes    uint64  `json:"freshStartHeapBytes"`
	FreshRSSBytes     uint64  `json:"freshStartRSSBytes"`
	HeapPerObjectByte float64 `json:"heapPerObjectBytes"`
	RSSPerObjectByte  float64 `json:"rssPerObjectBytes"`
}

type steadyPart struct {
	IdleSeconds float64 `json:"idleSeconds"`
	IdleWrites  int     `json:"idleWrites"`
	IdleGets    int     `json:"idleGets"`
	// Touched objects got an event that changes nothing that the operator wants.
	Touched           int     `json:"touched"`
	TouchedReconciles int     `json:"touchedReconciles"`
	TouchedWrites     int     `json:"touchedWrites"`
	TouchedGets       int     `json:"touchedGets"`
	GetsPerReconcile  float64 `json:"liveGetsPerReconcile"`
}

type queuePart struct {
	Events     int          `json:"events"`
	PerSecond  float64      `json:"sentPerSecond"`
	QueueMs    distribution `json:"queueMs"`
	EndToEndMs distribution `json:"requestToReconcileMs"`
}

type restartPart struct {
	DownSeconds      float64 `json:"downSeconds"`
	ConvergedSeconds float64 `json:"convergedSeconds"`
	OperatorEnded    bool    `json:"operatorEnded"`
}

func (r *report) write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
