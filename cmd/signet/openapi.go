package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// openAPI is the part of an OpenAPI 3 document that says who may do what.
type openAPI struct {
	OpenAPI string `yaml:"openapi"`
	Info    struct {
		Title string `yaml:"title"`
	} `yaml:"info"`
	Servers []struct {
		URL string `yaml:"url"`
	} `yaml:"servers"`
	Security   []map[string][]string           `yaml:"security"`
	Paths      map[string]map[string]yaml.Node `yaml:"paths"`
	Components struct {
		SecuritySchemes map[string]securityScheme `yaml:"securitySchemes"`
	} `yaml:"components"`
}

type securityScheme struct {
	Type  string `yaml:"type"`
	Flows map[string]struct {
		Scopes map[string]string `yaml:"scopes"`
	} `yaml:"flows"`
}

// openAPIMethods are the members of a path that are operations (OpenAPI 3.1 §4.8.9).
const openAPIMethods = " get put post delete options head patch trace "

var pathParameter = regexp.MustCompile(`\{[^/{}]+\}`)

func newAPIImportCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Register an API with the scopes and routes of an OpenAPI 3 document", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Register an API with the scopes that the OAuth security schemes of an OpenAPI 3 document (JSON or YAML) declare, and the " +
			"routes whose operations demand them. - reads it from stdin. Identifier and name come from its first server and title.",
	}
	output := outputFlag(cmd)
	identifier := cmd.Flags().String("identifier", "", "absolute URI: the aud of its tokens (default: URL of the first server)")
	name := cmd.Flags().String("name", "", "name for people (default: title of the document)")
	alg := cmd.Flags().String("alg", "", "signing algorithm: ES256 (default), RS256 or EdDSA")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := env.readFile(args[0])
		if err != nil {
			return err
		}
		n, err := readOpenAPI(text)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		n.Identifier, n.Name, n.Alg = cmp.Or(*identifier, n.Identifier), cmp.Or(*name, n.Name), *alg
		if n.Identifier == "" || n.Name == "" {
			return usageError("the document names no server or no title; give --identifier and --name")
		}
		client, err := env.admin()
		if err != nil {
			return err
		}
		made, err := client.CreateAPI(cmd.Context(), n)
		if err != nil {
			return err
		}
		return showAPI(env, *output, made)
	}
	return cmd
}

func readOpenAPI(text []byte) (adminapi.NewAPI, error) {
	var doc openAPI
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return adminapi.NewAPI{}, fmt.Errorf("read OpenAPI document: %w", err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.") {
		return adminapi.NewAPI{}, fmt.Errorf("this is no OpenAPI 3 document")
	}
	n := adminapi.NewAPI{Name: doc.Info.Title}
	prefix := ""
	if len(doc.Servers) > 0 {
		if u, err := url.Parse(doc.Servers[0].URL); err == nil && u.IsAbs() {
			n.Identifier, prefix = doc.Servers[0].URL, strings.TrimSuffix(u.Path, "/")
		} else {
			prefix = strings.TrimSuffix(doc.Servers[0].URL, "/")
		}
	}
	scopes := doc.scopes()
	if err := doc.routes(prefix, scopes); err != nil {
		return n, err
	}
	for _, scope := range slices.Sorted(maps.Keys(scopes)) {
		n.Scopes = append(n.Scopes, *scopes[scope])
	}
	if len(n.Scopes) == 0 {
		return n, fmt.Errorf("it declares no scopes: none of its security schemes is of type oauth2 with scopes")
	}
	return n, nil
}

// scopes are those of every OAuth flow.
func (doc *openAPI) scopes() map[string]*adminapi.NewScope {
	out := map[string]*adminapi.NewScope{}
	for _, scheme := range doc.Components.SecuritySchemes {
		if scheme.Type != "oauth2" {
			continue
		}
		for _, flow := range scheme.Flows {
			for name, description := range flow.Scopes {
				out[name] = &adminapi.NewScope{Name: name, Description: description}
			}
		}
	}
	return out
}

// routes adds to each scope the operations that demand it. An operation without security of its own has the document's.
func (doc *openAPI) routes(prefix string, scopes map[string]*adminapi.NewScope) error {
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			if !strings.Contains(openAPIMethods, " "+method+" ") {
				continue
			}
			var operation struct {
				Security *[]map[string][]string `yaml:"security"`
			}
			node := doc.Paths[path][method]
			if err := node.Decode(&operation); err != nil {
				return fmt.Errorf("read %s %s: %w", method, path, err)
			}
			security := doc.Security
			if operation.Security != nil {
				security = *operation.Security
			}
			route := strings.ToUpper(method) + " " + prefix + wildcard(path)
			for _, requirement := range security {
				open(route, requirement, scopes)
			}
		}
	}
	return nil
}

// open adds the route to the scopes that one security requirement demands.
func open(route string, requirement map[string][]string, scopes map[string]*adminapi.NewScope) {
	for _, demanded := range requirement {
		for _, name := range demanded {
			if scope := scopes[name]; scope != nil && !slices.Contains(scope.Routes, route) {
				scope.Routes = append(scope.Routes, route)
			}
		}
	}
}

// wildcard turns /users/{id} into /users/*. A segment that is only partly a parameter becomes one whole wildcard.
func wildcard(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if pathParameter.MatchString(s) {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}
