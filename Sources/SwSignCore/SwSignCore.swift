// What a program needs for signing and verifying comes with this module: one import is enough.
@_exported public import HTTPTransport
@_exported public import InToto
@_exported public import OCIRegistry
@_exported public import SigstoreClients
@_exported public import SigstoreCrypto
@_exported public import SigstoreVerification
@_exported public import StrictJSON
