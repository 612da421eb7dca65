public import InToto
public import SigstoreVerification

extension SigningConfig {
    /// The signing config of a public instance, as it was when this program was built.
    /// - Throws: ``SigstoreError`` where it cannot be read.
    public static func embedded(_ instance: TrustedRoot.Instance) throws(SigstoreError) -> SigningConfig {
        switch instance {
        case .production: try SigningConfig(parsing: Array(productionJSON.utf8))
        case .staging: try SigningConfig(parsing: Array(stagingJSON.utf8))
        }
    }

    /// `signing_config.v0.2.json` of the public instance's TUF repository.
    private static let productionJSON = #"""
        {
          "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
          "caUrls": [
            {
              "url": "https://fulcio.sigstore.dev",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2022-04-13T20:06:15.000Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "oidcUrls": [
            {
              "url": "https://oauth2.sigstore.dev/auth",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2022-04-13T20:06:15.000Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "rekorTlogUrls": [
            {
              "url": "https://rekor.sigstore.dev",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2021-01-12T11:53:27.000Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "tsaUrls": [
            {
              "url": "https://timestamp.sigstore.dev/api/v1/timestamp",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2025-07-04T00:00:00Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "rekorTlogConfig": {
            "selector": "ANY"
          },
          "tsaConfig": {
            "selector": "ANY"
          }
        }
        """#

    /// `signing_config.v0.2.json` of the TUF repository of the public instance's rehearsal.
    private static let stagingJSON = #"""
        {
          "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
          "caUrls": [
            {
              "url": "https://fulcio.sigstage.dev",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2022-04-14T21:38:40Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "oidcUrls": [
            {
              "url": "https://oauth2.sigstage.dev/auth",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2025-04-16T00:00:00Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "rekorTlogUrls": [
            {
              "url": "https://log2025-alpha3.rekor.sigstage.dev",
              "majorApiVersion": 2,
              "validFor": {
                "start": "2025-09-22T11:00:00Z"
              },
              "operator": "sigstore.dev"
            },
            {
              "url": "https://log2025-alpha2.rekor.sigstage.dev",
              "majorApiVersion": 2,
              "validFor": {
                "start": "2025-08-20T07:24:08Z",
                "end": "2025-09-22T11:00:00Z"
              },
              "operator": "sigstore.dev"
            },
            {
              "url": "https://log2025-alpha1.rekor.sigstage.dev",
              "majorApiVersion": 2,
              "validFor": {
                "start": "2025-05-07T12:00:00Z",
                "end": "2025-08-20T07:24:08Z"
              },
              "operator": "sigstore.dev"
            },
            {
              "url": "https://rekor.sigstage.dev",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2021-01-12T11:53:27Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "tsaUrls": [
            {
              "url": "https://timestamp.sigstage.dev/api/v1/timestamp",
              "majorApiVersion": 1,
              "validFor": {
                "start": "2025-04-09T00:00:00Z"
              },
              "operator": "sigstore.dev"
            }
          ],
          "rekorTlogConfig": {
            "selector": "ANY"
          },
          "tsaConfig": {
            "selector": "ANY"
          }
        }
        """#
}
