public import StrictJSON

/// An in-toto statement: a predicate of a given type about one or more subjects (in-toto attestation framework,
/// Statement v0.1 and v1).
public struct Statement: Sendable {
    /// The DSSE payload type of a statement.
    public static let payloadType = "application/vnd.in-toto+json"

    /// The version of the statement's layout.
    public enum Layout: String, Sendable {
        case v01 = "https://in-toto.io/Statement/v0.1"
        case v1 = "https://in-toto.io/Statement/v1"
    }

    /// The version of the statement's layout (`_type`).
    public var layout: Layout
    /// What the statement is about.
    public var subjects: [ResourceDescriptor]
    /// The type of the predicate.
    public var predicateType: PredicateType
    /// What is said of the subjects.
    public var predicate: JSONValue

    public init(
        layout: Layout, subjects: [ResourceDescriptor], predicateType: PredicateType, predicate: JSONValue
    ) {
        self.layout = layout
        self.subjects = subjects
        self.predicateType = predicateType
        self.predicate = predicate
    }

    /// Reads a statement from the payload of an envelope.
    /// - Parameter payload: JSON in UTF-8.
    /// - Throws: `SigstoreError` if it is not JSON, `_type` is neither v0.1 nor v1, or it has no subject or no
    ///   predicate type. Members that the specification does not name are passed over, as it demands.
    public init(parsing payload: [UInt8]) throws(SigstoreError) {
        let json = JSONCursor(try JSONValue(parsing: payload, depth: 256))
        let type = try json.member("_type")
        guard let layout = Layout(rawValue: try type.string()) else {
            throw type.fault("is \"\(try type.string())\", not an in-toto statement of version 0.1 or 1")
        }
        self.layout = layout
        let list = try json.member("subject")
        subjects = []
        for subject in try list.elements() { subjects.append(try ResourceDescriptor(subject)) }
        guard !subjects.isEmpty else { throw list.fault("names no subject") }
        let predicateType = try json.member("predicateType")
        self.predicateType = PredicateType(uri: try predicateType.string())
        guard !self.predicateType.uri.isEmpty else { throw predicateType.fault("is empty") }
        predicate = try json.optional("predicate")?.value ?? .null
    }

    /// The statement as JSON.
    public func json() -> JSONValue {
        .object([
            "_type": .string(layout.rawValue),
            "subject": .array(subjects.map { $0.json() }),
            "predicateType": .string(predicateType.uri),
            "predicate": predicate,
        ])
    }

    /// Whether one of the subjects has this digest.
    /// - Parameters:
    ///   - algorithm: The name of the algorithm as in-toto writes it, such as `sha256`.
    ///   - hex: The digest in lower case hexadecimal.
    public func hasSubject(algorithm: String, hex: String) -> Bool {
        subjects.contains { subject in
            subject.digests.contains {
                $0.algorithm.utf8.elementsEqual(algorithm.utf8) && $0.hex.utf8.elementsEqual(hex.utf8)
            }
        }
    }
}

/// What a statement is about: a name and digests (in-toto attestation framework, ResourceDescriptor v1).
public struct ResourceDescriptor: Sendable {
    /// A file name or a repository; may be absent.
    public var name: String?
    /// The digests, each with in-toto's name of its algorithm and lower case hexadecimal.
    public var digests: [(algorithm: String, hex: String)]
    /// Further facts about the subject, such as a signature's annotations.
    public var annotations: JSONObject?

    public init(name: String?, digests: [(algorithm: String, hex: String)], annotations: JSONObject? = nil) {
        self.name = name
        self.digests = digests
        self.annotations = annotations
    }

    /// Reads a descriptor.
    /// - Throws: `SigstoreError` if a member is of the wrong type or there is no digest.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        name = try json.optional("name")?.string()
        digests = []
        let digest = try json.member("digest")
        let algorithms = try digest.names()
        guard algorithms.count <= 64 else { throw digest.fault("holds \(algorithms.count) digests, more than 64") }
        for algorithm in algorithms {
            digests.append((algorithm: algorithm, hex: try digest.member(algorithm).string()))
        }
        guard !digests.isEmpty else { throw digest.fault("holds no digest") }
        if case .object(let object)? = try json.optional("annotations")?.value { annotations = object }
    }

    func json() -> JSONValue {
        var object: JSONObject = [:]
        if let name { object["name"] = .string(name) }
        object["digest"] = .object(JSONObject(digests.map { (name: $0.algorithm, value: .string($0.hex)) }))
        if let annotations { object["annotations"] = .object(annotations) }
        return .object(object)
    }
}
