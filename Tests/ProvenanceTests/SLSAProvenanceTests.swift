import InToto
import StrictJSON
import Testing

@testable import Provenance

/// What SLSA's predicates say, and versions.
struct SLSAProvenanceTests {
    private static func provenance(_ version: String, _ predicate: String) throws -> SLSAProvenance {
        try SLSAProvenance(
            Statement(
                layout: .v1, subjects: [], predicateType: PredicateType(uri: "https://slsa.dev/provenance/\(version)"),
                predicate: JSONValue(parsing: Array(predicate.utf8))))
    }

    private static func old(_ environment: String) throws -> SLSAProvenance {
        try provenance(
            "v0.2",
            #"{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{"uri":"git+x@refs/heads/a"},"environment":"#
                + environment + #"},"materials":[{"uri":"git+x@refs/heads/a"}]}"#)
    }

    @Test(
        "Version 0.2: branch and tag are where the builder writes them",
        arguments: [
            (#"{"github_ref_type":"branch","github_ref":"refs/heads/a/b"}"#, "a/b", nil),
            (#"{"github_ref_type":"branch","github_ref":"refs/tags/v1"}"#, nil, nil),
            (#"{"github_ref_type":"branch","github_ref":"main"}"#, nil, nil),
            (#"{"github_ref_type":"tag","github_ref":"refs/tags/v1","github_base_ref":"refs/heads/x"}"#, "x", "v1"),
            (
                #"{"github_ref_type":"tag","github_ref":"refs/tags/v1","github_event_name":"push","github_event_payload":{"base_ref":"refs/heads/x"}}"#,
                "x", "v1"
            ),
            (
                #"{"github_ref_type":"tag","github_ref":"refs/tags/v1","github_event_name":"push","github_event_payload":{"base_ref":null}}"#,
                nil, "v1"
            ),
            (
                #"{"github_ref_type":"tag","github_ref":"refs/tags/v1","github_event_name":"release","github_event_payload":{"release":{"target_commitish":"main"}}}"#,
                "main", "v1"
            ),
            (
                #"{"github_ref_type":"tag","github_ref":"refs/tags/v1","github_event_name":"schedule","github_event_payload":{"base_ref":"refs/heads/x"}}"#,
                nil, "v1"
            ),
            (#"{"github_ref_type":1,"github_ref":"refs/heads/a"}"#, nil, nil), (#"{}"#, nil, nil), ("[]", nil, nil),
            ("null", nil, nil),
        ] as [(String, String?, String?)])
    func oldRefs(environment: String, branch: String?, tag: String?) throws {
        let provenance = try Self.old(environment)
        #expect(provenance.branch == branch && provenance.tag == tag)
    }

    @Test("Version 1: trigger, source, branch and tag of each kind of build")
    func newRefs() throws {
        func predicate(_ definition: String) -> String {
            #"{"runDetails":{"builder":{"id":"b"}},"buildDefinition":{"resolvedDependencies":[{"uri":"git+https://github.com/o/n@refs/tags/v1"}],"#
                + definition + "}}"
        }
        let variables = try Self.provenance(
            "v1",
            predicate(
                #""buildType":"https://slsa.dev/container-based-build/v0.1?draft","internalParameters":{"GITHUB_WORKFLOW_REF":"o/n/.github/workflows/w.yml@refs/tags/v1","GITHUB_EVENT_NAME":"workflow_dispatch","GITHUB_EVENT_PAYLOAD":{"inputs":{"a":"b","c":1}}}"#
            ))
        #expect(variables.trigger == "git+https://github.com/o/n@refs/tags/v1")
        #expect(variables.tag == "v1" && variables.branch == nil && variables.event == "workflow_dispatch")
        #expect(variables.input("a") == "b" && variables.input("c") == nil && variables.input("d") == nil)
        let workflow = try Self.provenance(
            "v1",
            predicate(
                #""buildType":"https://actions.github.io/buildtypes/workflow/v1","externalParameters":{"workflow":{"repository":"https://github.com/o/n","ref":"refs/heads/main","path":"w"}}"#
            ))
        #expect(workflow.trigger == "git+https://github.com/o/n@refs/heads/main")
        #expect(workflow.tag == nil && workflow.branch == "main" && workflow.event == nil)
    }

    @Test(
        "A predicate without what the rules look at is refused, and nothing in it stops the program",
        arguments: [
            ("v0.2", "{}"), ("v0.2", "[]"), ("v0.2", "null"), ("v1", "{}"), ("v1", "1"),
            ("v0.2", #"{"builder":{"id":1}}"#),
            (
                "v0.2",
                #"{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{"uri":"git+x@a"}},"materials":[]}"#
            ),
            (
                "v1",
                #"{"runDetails":{"builder":{"id":"b"}},"buildDefinition":{"buildType":"t","resolvedDependencies":[{"uri":"x"}],"internalParameters":{"GITHUB_WORKFLOW_REF":"o@n@r"}}}"#
            ),
            (
                "v1",
                #"{"runDetails":{"builder":{"id":"b"}},"buildDefinition":{"buildType":"t","resolvedDependencies":[{"uri":"x"}],"internalParameters":{"GITHUB_WORKFLOW_REF":"o@"}}}"#
            ),
        ])
    func incomplete(version: String, predicate: String) {
        do {
            _ = try Self.provenance(version, predicate)
            Issue.record("\(predicate) was read")
        } catch { #expect((error as? SigstoreError)?.code == .malformedProvenance, "\(error)") }
    }

    @Test("Git references are cut at the first @, and need git+")
    func references() {
        #expect(GitReference("git+https://github.com/o/n@refs/tags/v1@2")?.ref == "refs/tags/v1@2")
        #expect(GitReference("git+https://github.com/o/n")?.ref == nil)
        for text in ["", "git+x@", "https://github.com/o/n@refs/heads/main", "@"] {
            #expect(GitReference(text) == nil, "\(text)")
        }
    }

    @Test("Versions are read as Go's tools read them")
    func versions() {
        for text in ["v1", "v0", "v1.2", "v1.2.3", "v1.2.3-rc.1", "v1.2.3-0a", "v1.2.3+01", "v1.2.3-a-b+c.d"] {
            #expect(VersionTag(text) != nil, "\(text)")
        }
        for text in [
            "", "1", "v", "v01", "v1.", "v1.2.3.4", "v1-rc", "v1.2+b", "v1.2.3-", "v1.2.3+", "v1.2.3-01", "v1.2.3-a..b",
            "v1.2.3-é", "v1.2.3 ", "V1.2.3", "v-1", "v1.2.3-a+b+c",
        ] { #expect(VersionTag(text) == nil, "\(text)") }
        for (text, isRelease) in [("v1.2.3", true), ("v1.2", false), ("v1.2.3-rc", false), ("v1.2.3+b", false)] {
            #expect(VersionTag(text)?.isRelease == isRelease, "\(text)")
        }
    }

    @Test(
        "A version is met by what it is the beginning of",
        arguments: [
            ("v13", "v13.0.30", true), ("v13.0", "v13.0.30", true), ("v13.0.30", "v13.0.30", true),
            ("v13.1", "v13.0.30", false), ("v1", "v13.0.30", false), ("v13.0.3", "v13.0.30", false),
            ("v14.0.0", "v14", true), ("v14.2.0", "v14.2", true), ("v14.2.1", "v14.2", false),
            ("v1.2.3", "v1.2.3+b", true), ("v1.2.3", "v1.2.3-rc.1", false), ("v1.2.3-rc.1", "v1.2.3-rc.1", true),
            ("v1.2.3-rc.1", "v1.2.3-rc.2", false), ("v1.2", "v1.2.3-rc.1", true),
        ])
    func met(expected: String, found: String, holds: Bool) throws {
        #expect(try #require(VersionTag(expected)).isMet(by: try #require(VersionTag(found))) == holds)
    }
}

/// What provenance says of a build, whoever wrote it.
struct BuildFactsTests {
    private static func facts(_ type: String, _ predicate: String) throws -> BuildFacts? {
        BuildFacts(
            Statement(
                layout: .v1, subjects: [], predicateType: PredicateType(uri: type),
                predicate: try JSONValue(parsing: Array(predicate.utf8))))
    }

    @Test("Builder and source are read of both versions; what is missing or of another kind is no error")
    func facts() throws {
        let new = "https://slsa.dev/provenance/v1"
        let facts = try Self.facts(
            new,
            #"{"runDetails":{"builder":{"id":"b"}},"buildDefinition":{"resolvedDependencies":[{"uri":"git+x"},{"uri":"y"}]}}"#
        )
        #expect(facts?.builder == "b" && facts?.source == "git+x" && facts?.level(by: nil) == 1)
        let old = try Self.facts("https://slsa.dev/provenance/v0.2", #"{"builder":{"id":"c"},"materials":[]}"#)
        #expect(old?.builder == "c" && old?.source == nil)
        for predicate in [
            "{}", "7", #"{"runDetails":7}"#, #"{"runDetails":{"builder":{"id":""}}}"#, #"{"builder":{"id":"b"}}"#,
        ] {
            #expect(try Self.facts(new, predicate) == nil, "\(predicate)")
        }
        #expect(try Self.facts("https://example.com/p", #"{"runDetails":{"builder":{"id":"b"}}}"#) == nil)
    }
}
