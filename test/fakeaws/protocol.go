package fakeaws

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
)

const (
	versionEC2       = "2016-11-15"
	namespaceEC2     = "http://ec2.amazonaws.com/doc/2016-11-15/"
	namespaceScaling = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
)

// element is a piece of XML whose name is known only when it is written.
type element struct {
	name       string
	namespace  string
	members    []any
	text       string
	simplyText bool
}

// MarshalXML implements xml.Marshaler. Members are written in order.
func (e element) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	start := xml.StartElement{Name: xml.Name{Local: e.name}}
	if e.namespace != "" {
		start.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: e.namespace}}
	}
	if e.simplyText {
		return enc.EncodeElement(e.text, start)
	}
	if err := enc.EncodeToken(start); err != nil {
		return err
	}
	for _, m := range e.members {
		if err := enc.Encode(m); err != nil {
			return err
		}
	}
	return enc.EncodeToken(start.End())
}

func text(name, value string) element { return element{name: name, text: value, simplyText: true} }

// queryAnswer is the awsQuery envelope: <XResponse><XResult>…</XResult><ResponseMetadata/></XResponse>.
func queryAnswer(operation, requestID string, body any) element {
	return element{name: operation + "Response", namespace: namespaceScaling, members: []any{
		named{operation + "Result", body},
		element{name: "ResponseMetadata", members: []any{text("RequestId", requestID)}},
	}}
}

// named writes a structure under a name of the caller's choice.
type named struct {
	name string
	body any
}

// MarshalXML implements xml.Marshaler.
func (n named) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	start := xml.StartElement{Name: xml.Name{Local: n.name}}
	if n.body == nil {
		return enc.EncodeElement("", start)
	}
	return enc.EncodeElement(n.body, start)
}

// ec2Answer is the ec2Query envelope, which has the members of the answer beside the request id.
func ec2Answer(operation, requestID string, body any) element {
	e := element{name: operation + "Response", namespace: namespaceEC2, members: []any{text("requestId", requestID)}}
	if members, ok := body.([]any); ok {
		e.members = append(e.members, members...)
	}
	return e
}

// items is a list as ec2Query writes it.
type items[T any] struct {
	Items []T `xml:"item"`
}

func writeXML(w http.ResponseWriter, status int, body any) {
	data, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	write(w, []byte(xml.Header), data)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	write(w, data)
}

// write sends the parts until the client is gone; nobody is left to be told then.
func write(w http.ResponseWriter, parts ...[]byte) {
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// writeError writes a refusal the way each service does.
func writeError(w http.ResponseWriter, service, requestID string, e *apiError) {
	code, message := text("Code", e.code), text("Message", e.message)
	switch service {
	case serviceEKS:
		w.Header().Set("X-Amzn-Errortype", e.code)
		writeJSON(w, e.status, map[string]string{"message": e.message})
	case serviceEC2:
		failure := element{name: "Error", members: []any{code, message}}
		writeXML(w, e.status, element{name: "Response", members: []any{
			element{name: "Errors", members: []any{failure}}, text("RequestID", requestID)}})
	default:
		failure := element{name: "Error", members: []any{text("Type", "Sender"), code, message}}
		writeXML(w, e.status, element{name: "ErrorResponse", namespace: namespaceScaling, members: []any{
			failure, text("RequestId", requestID)}})
	}
}
