package serve

import "net/http"

// info is the answer to GET /info: what text-embeddings-inference says of a server, and the adapters.
type info struct {
	ModelID    string    `json:"model_id"` // of the base
	ModelDType string    `json:"model_dtype"`
	ModelType  modelType `json:"model_type"` // of the default adapter
	Waiting    int       `json:"max_concurrent_requests"`
	MaxInput   int       `json:"max_input_length"`
	MaxBatch   int       `json:"max_batch_requests"`
	MaxInputs  int       `json:"max_client_batch_size"`
	Version    string    `json:"version"`

	Backend  string        `json:"backend"`
	Merged   bool          `json:"merged"` // the adapter is merged into the model
	Default  string        `json:"default_adapter"`
	Adapters []adapterInfo `json:"adapters"`
}

type modelType struct {
	Classifier classifier `json:"classifier"`
}

type classifier struct {
	ID2Label map[string]string `json:"id2label"`
	Label2ID map[string]int    `json:"label2id"`
}

// adapterInfo is what a client may know of an adapter.
type adapterInfo struct {
	Name     string   `json:"name"`
	Task     string   `json:"task,omitempty"`
	Method   string   `json:"method,omitempty"` // of a run
	Problem  string   `json:"problem"`          // classification, multilabel or regression
	Labels   []string `json:"labels"`
	Pair     *bool    `json:"pair,omitempty"` // whether inputs are pairs, where that is known
	MaxInput int      `json:"max_input_length"`
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request) error {
	first := s.adapters[0]
	said := info{
		ModelID: first.Base, ModelDType: s.config.Precision, ModelType: modelType{first.classifier()}, Waiting: s.config.MaxQueue,
		MaxInput: first.MaxLength, MaxBatch: s.config.MaxBatch, MaxInputs: s.config.MaxInputs, Version: s.config.Version,
		Backend: s.config.Backend, Merged: s.config.Merged, Default: first.Name,
	}
	for _, a := range s.adapters {
		one := adapterInfo{Name: a.Name, Task: a.Task.Name, Problem: a.problem(), Labels: a.labels(), MaxInput: a.MaxLength, Method: a.Method}
		if pair, known := takesPair(a.Predictor); known {
			one.Pair = &pair
		}
		said.Adapters = append(said.Adapters, one)
	}
	return s.write(w, http.StatusOK, said)
}

func (a *Adapter) classifier() classifier {
	c := classifier{map[string]string{}, map[string]int{}}
	for i, label := range a.labels() {
		c.ID2Label[itoa(i)], c.Label2ID[label] = label, i
	}
	return c
}
