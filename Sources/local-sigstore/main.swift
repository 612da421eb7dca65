import LocalSigstore

let registry = try await LocalRegistry.start()
print(registry.address)
try await Task.sleep(for: .seconds(86_400))
