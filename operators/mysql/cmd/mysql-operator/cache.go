package main

import (
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
)

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("make the scheme: %w", err)
		}
	}
	return scheme, nil
}

// ours selects what belongs to MySQLClusters: nothing else of a Kubernetes cluster costs memory here.
func ours() labels.Selector {
	requirement, err := labels.NewRequirement(manifest.LabelCluster, selection.Exists, nil)
	if err != nil {
		panic("mysql-operator: the label of clusters is not a valid label: " + err.Error())
	}
	return labels.NewSelector().Add(*requirement)
}

// watched narrows the cache.
func watched() map[client.Object]cache.ByObject {
	selector := cache.ByObject{Label: ours()}
	return map[client.Object]cache.ByObject{
		&corev1.Pod{}: selector, &corev1.PersistentVolumeClaim{}: selector, &corev1.Service{}: selector,
		&corev1.ConfigMap{}: selector, &corev1.ServiceAccount{}: selector, &appsv1.StatefulSet{}: selector,
		&discoveryv1.EndpointSlice{}: selector, &policyv1.PodDisruptionBudget{}: selector,
	}
}
