// Package controller is the loop: observe, decide, act, report. What it knows is when to run it.
package controller
