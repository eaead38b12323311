package promtest

// Metrics names the metrics of an expression. parsed is what Prometheus' parse_query
// answers, as JSON is decoded into an any.
func Metrics(parsed any) []string {
	var names []string
	switch node := parsed.(type) {
	case map[string]any:
		if node["type"] == "vectorSelector" || node["type"] == "matrixSelector" {
			if name, ok := node["name"].(string); ok && name != "" {
				names = append(names, name)
			}
		}
		for _, inner := range node {
			names = append(names, Metrics(inner)...)
		}
	case []any:
		for _, inner := range node {
			names = append(names, Metrics(inner)...)
		}
	}
	return names
}
