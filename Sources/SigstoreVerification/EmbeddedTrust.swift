// Written by Fixtures/tuf/embed-trust.py from the files of the public Sigstore instances. Do not edit.
// swift-format-ignore-file

package import StrictJSON

/// What is known of Sigstore's public instances before any of them is asked.
package enum EmbeddedTrust {
    /// When these were the newest files of the production instance: 2026-05-07.
    package static let productionDate = Instant(seconds: 1778112000)

    /// `root.json` of the production instance.
    package static var productionRoot: [UInt8] {
        Array(productionRootText.utf8)
    }
    private static let productionRootText = #"""
        {
         "signatures": [
          {
           "keyid": "e71a54d543835ba86adad9460379c7641fb8726d164ea766801a1c522aba7ea2",
           "sig": "3045022100ea2f374f409810e2db950749d9cfed09a15b6a5e25f3d5ffd0799459d7bee167022028d3acdde6dbd5034cfad222d31b41090ee21894e2c46cb8974198ab0377db44"
          },
          {
           "keyid": "22f4caec6d8e6f9555af66b3d4c3cb06a3bb23fdc7e39c916c61f462e6f52b06",
           "sig": "304402207ebb24e3237e470691d7875903a7754d0ef2ae7e7b5024a7888c9a38a52deecd02206ed5ad1c6f4fab46995843ab6b23f9420c5a4cf6ce1cb2cb2a6fc2e87e2ef3e1"
          },
          {
           "keyid": "61643838125b440b40db6942f5cb5a31c0dc04368316eb2aaa58b95904a58222",
           "sig": "304602210089d9dfd8e106cc958088a4da3c8cf7254ab6f65a9647d37ada730ef4763c5163022100d882ee744615be79861e214e1eeb9e1eddf6a1e203a201b4c5d03f5224d71d16"
          },
          {
           "keyid": "a687e5bf4fab82b0ee58d46e05c9535145a2c9afb458f43d42b45ca0fdce2a70",
           "sig": "304502210088bd4b88e83f586ce568d27d04214c4ab3fd1894178ef015303d56afa939205302205538ebab93876abb9075ad77114bff28a0d79a7cc229b534a0c5ced5526b48e7"
          },
          {
           "keyid": "183e64f37670dc13ca0d28995a3053f3740954ddce44321a41e46534cf44e632",
           "sig": "3045022100f35b07e938d4949caf82e69e86cc9db3b69b6dbc6740c1f343d06893f996fbeb022001e847d816259a96a49e42779a2350dab97b71c8ae7e26b2380c6fa7f58131b3"
          }
         ],
         "signed": {
          "_type": "root",
          "consistent_snapshot": true,
          "expires": "2026-11-20T13:58:18Z",
          "keys": {
           "0c87432c3bf09fd99189fdc32fa5eaedf4e4a5fac7bab73fa04a2e0fc64af6f5": {
            "keyid_hash_algorithms": [
             "sha256",
             "sha512"
            ],
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWRiGr5+j+3J5SsH+Ztr5nE2H2wO7\nBV+nO3s93gLca18qTOzHY1oWyAGDykMSsGTUBSt9D+An0KfKsD2mfSM42Q==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-online-uri": "gcpkms:projects/sigstore-root-signing/locations/global/keyRings/root/cryptoKeys/timestamp/cryptoKeyVersions/1"
           },
           "183e64f37670dc13ca0d28995a3053f3740954ddce44321a41e46534cf44e632": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMxpPOJCIZ5otG4106fGJseEQi3V9\npkMYQ4uyV9Tj1M7WHXIyLG+jkfvuG0glQ1JZbRZZBV3gAR4sojdGHISeow==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@lance"
           },
           "22f4caec6d8e6f9555af66b3d4c3cb06a3bb23fdc7e39c916c61f462e6f52b06": {
            "keyid_hash_algorithms": [
             "sha256",
             "sha512"
            ],
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzBzVOmHCPojMVLSI364WiiV8NPrD\n6IgRxVliskz/v+y3JER5mcVGcONliDcWMC5J2lfHmjPNPhb4H7xm8LzfSA==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@santiagotorres"
           },
           "61643838125b440b40db6942f5cb5a31c0dc04368316eb2aaa58b95904a58222": {
            "keyid_hash_algorithms": [
             "sha256",
             "sha512"
            ],
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEinikSsAQmYkNeH5eYq/CnIzLaacO\nxlSaawQDOwqKy/tCqxq5xxPSJc21K4WIhs9GyOkKfzueY3GILzcMJZ4cWw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@bobcallaway"
           },
           "a687e5bf4fab82b0ee58d46e05c9535145a2c9afb458f43d42b45ca0fdce2a70": {
            "keyid_hash_algorithms": [
             "sha256",
             "sha512"
            ],
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0ghrh92Lw1Yr3idGV5WqCtMDB8Cx\n+D8hdC4w2ZLNIplVRoVGLskYa3gheMyOjiJ8kPi15aQ2//7P+oj7UvJPGw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@joshuagl"
           },
           "e71a54d543835ba86adad9460379c7641fb8726d164ea766801a1c522aba7ea2": {
            "keyid_hash_algorithms": [
             "sha256",
             "sha512"
            ],
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEXsz3SZXFb8jMV42j6pJlyjbjR8K\nN3Bwocexq6LMIb5qsWKOQvLN16NUefLc4HswOoumRsVVaajSpQS6fobkRw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@mnm678"
           }
          },
          "roles": {
           "root": {
            "keyids": [
             "e71a54d543835ba86adad9460379c7641fb8726d164ea766801a1c522aba7ea2",
             "22f4caec6d8e6f9555af66b3d4c3cb06a3bb23fdc7e39c916c61f462e6f52b06",
             "61643838125b440b40db6942f5cb5a31c0dc04368316eb2aaa58b95904a58222",
             "a687e5bf4fab82b0ee58d46e05c9535145a2c9afb458f43d42b45ca0fdce2a70",
             "183e64f37670dc13ca0d28995a3053f3740954ddce44321a41e46534cf44e632"
            ],
            "threshold": 3
           },
           "snapshot": {
            "keyids": [
             "0c87432c3bf09fd99189fdc32fa5eaedf4e4a5fac7bab73fa04a2e0fc64af6f5"
            ],
            "threshold": 1,
            "x-tuf-on-ci-expiry-period": 3650,
            "x-tuf-on-ci-signing-period": 365
           },
           "targets": {
            "keyids": [
             "e71a54d543835ba86adad9460379c7641fb8726d164ea766801a1c522aba7ea2",
             "22f4caec6d8e6f9555af66b3d4c3cb06a3bb23fdc7e39c916c61f462e6f52b06",
             "61643838125b440b40db6942f5cb5a31c0dc04368316eb2aaa58b95904a58222",
             "a687e5bf4fab82b0ee58d46e05c9535145a2c9afb458f43d42b45ca0fdce2a70",
             "183e64f37670dc13ca0d28995a3053f3740954ddce44321a41e46534cf44e632"
            ],
            "threshold": 3
           },
           "timestamp": {
            "keyids": [
             "0c87432c3bf09fd99189fdc32fa5eaedf4e4a5fac7bab73fa04a2e0fc64af6f5"
            ],
            "threshold": 1,
            "x-tuf-on-ci-expiry-period": 7,
            "x-tuf-on-ci-signing-period": 6
           }
          },
          "spec_version": "1.0",
          "version": 15,
          "x-tuf-on-ci-expiry-period": 197,
          "x-tuf-on-ci-signing-period": 46
         }
        }
        """#

    /// `trusted_root.json` of the production instance.
    package static var productionTrustedRoot: [UInt8] {
        Array(productionTrustedRootText.utf8)
    }
    private static let productionTrustedRootText = #"""
        {
          "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
          "tlogs": [
            {
              "baseUrl": "https://rekor.sigstore.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2021-01-12T11:53:27Z"
                }
              },
              "logId": {
                "keyId": "wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0="
              }
            },
            {
              "baseUrl": "https://log2025-1.rekor.sigstore.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=",
                "keyDetails": "PKIX_ED25519",
                "validFor": {
                  "start": "2025-09-23T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A="
              }
            }
          ],
          "certificateAuthorities": [
            {
              "subject": {
                "organization": "sigstore.dev",
                "commonName": "sigstore"
              },
              "uri": "https://fulcio.sigstore.dev",
              "certChain": {
                "certificates": [
                  {
                    "rawBytes": "MIIB+DCCAX6gAwIBAgITNVkDZoCiofPDsy7dfm6geLbuhzAKBggqhkjOPQQDAzAqMRUwEwYDVQQKEwxzaWdzdG9yZS5kZXYxETAPBgNVBAMTCHNpZ3N0b3JlMB4XDTIxMDMwNzAzMjAyOVoXDTMxMDIyMzAzMjAyOVowKjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTB2MBAGByqGSM49AgEGBSuBBAAiA2IABLSyA7Ii5k+pNO8ZEWY0ylemWDowOkNa3kL+GZE5Z5GWehL9/A9bRNA3RbrsZ5i0JcastaRL7Sp5fp/jD5dxqc/UdTVnlvS16an+2Yfswe/QuLolRUCrcOE2+2iA5+tzd6NmMGQwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYBAf8CAQEwHQYDVR0OBBYEFMjFHQBBmiQpMlEk6w2uSu1KBtPsMB8GA1UdIwQYMBaAFMjFHQBBmiQpMlEk6w2uSu1KBtPsMAoGCCqGSM49BAMDA2gAMGUCMH8liWJfMui6vXXBhjDgY4MwslmN/TJxVe/83WrFomwmNf056y1X48F9c4m3a3ozXAIxAKjRay5/aj/jsKKGIkmQatjI8uupHr/+CxFvaJWmpYqNkLDGRU+9orzh5hI2RrcuaQ=="
                  }
                ]
              },
              "validFor": {
                "start": "2021-03-07T03:20:29Z",
                "end": "2022-12-31T23:59:59.999Z"
              }
            },
            {
              "subject": {
                "organization": "sigstore.dev",
                "commonName": "sigstore"
              },
              "uri": "https://fulcio.sigstore.dev",
              "certChain": {
                "certificates": [
                  {
                    "rawBytes": "MIICGjCCAaGgAwIBAgIUALnViVfnU0brJasmRkHrn/UnfaQwCgYIKoZIzj0EAwMwKjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTAeFw0yMjA0MTMyMDA2MTVaFw0zMTEwMDUxMzU2NThaMDcxFTATBgNVBAoTDHNpZ3N0b3JlLmRldjEeMBwGA1UEAxMVc2lnc3RvcmUtaW50ZXJtZWRpYXRlMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE8RVS/ysH+NOvuDZyPIZtilgUF9NlarYpAd9HP1vBBH1U5CV77LSS7s0ZiH4nE7Hv7ptS6LvvR/STk798LVgMzLlJ4HeIfF3tHSaexLcYpSASr1kS0N/RgBJz/9jWCiXno3sweTAOBgNVHQ8BAf8EBAMCAQYwEwYDVR0lBAwwCgYIKwYBBQUHAwMwEgYDVR0TAQH/BAgwBgEB/wIBADAdBgNVHQ4EFgQU39Ppz1YkEZb5qNjpKFWixi4YZD8wHwYDVR0jBBgwFoAUWMAeX5FFpWapesyQoZMi0CrFxfowCgYIKoZIzj0EAwMDZwAwZAIwPCsQK4DYiZYDPIaDi5HFKnfxXx6ASSVmERfsynYBiX2X6SJRnZU84/9DZdnFvvxmAjBOt6QpBlc4J/0DxvkTCqpclvziL6BCCPnjdlIB3Pu3BxsPmygUY7Ii2zbdCdliiow="
                  },
                  {
                    "rawBytes": "MIIB9zCCAXygAwIBAgIUALZNAPFdxHPwjeDloDwyYChAO/4wCgYIKoZIzj0EAwMwKjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTAeFw0yMTEwMDcxMzU2NTlaFw0zMTEwMDUxMzU2NThaMCoxFTATBgNVBAoTDHNpZ3N0b3JlLmRldjERMA8GA1UEAxMIc2lnc3RvcmUwdjAQBgcqhkjOPQIBBgUrgQQAIgNiAAT7XeFT4rb3PQGwS4IajtLk3/OlnpgangaBclYpsYBr5i+4ynB07ceb3LP0OIOZdxexX69c5iVuyJRQ+Hz05yi+UF3uBWAlHpiS5sh0+H2GHE7SXrk1EC5m1Tr19L9gg92jYzBhMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRYwB5fkUWlZql6zJChkyLQKsXF+jAfBgNVHSMEGDAWgBRYwB5fkUWlZql6zJChkyLQKsXF+jAKBggqhkjOPQQDAwNpADBmAjEAj1nHeXZp+13NWBNa+EDsDP8G1WWg1tCMWP/WHPqpaVo0jhsweNFZgSs0eE7wYI4qAjEA2WB9ot98sIkoF3vZYdd3/VtWB5b9TNMea7Ix/stJ5TfcLLeABLE4BNJOsQ4vnBHJ"
                  }
                ]
              },
              "validFor": {
                "start": "2022-04-13T20:06:15Z"
              }
            }
          ],
          "ctlogs": [
            {
              "baseUrl": "https://ctfe.sigstore.dev/test",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbfwR+RJudXscgRBRpKX1XFDy3PyudDxz/SfnRi1fT8ekpfBd2O1uoz7jr3Z8nKzxA69EUQ+eFCFI3zeubPWU7w==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2021-03-14T00:00:00Z",
                  "end": "2022-10-31T23:59:59.999Z"
                }
              },
              "logId": {
                "keyId": "CGCS8ChS/2hF0dFrJ4ScRWcYrBY9wzjSbea8IgY2b3I="
              }
            },
            {
              "baseUrl": "https://ctfe.sigstore.dev/2022",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiPSlFi0CmFTfEjCUqF9HuCEcYXNKAaYalIJmBZ8yyezPjTqhxrKBpMnaocVtLJBI1eM3uXnQzQGAJdJ4gs9Fyw==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2022-10-20T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "3T0wasbHETJjGR4cmWc3AqJKXrjePK3/h4pygC8p7o4="
              }
            }
          ],
          "timestampAuthorities": [
            {
              "subject": {
                "organization": "sigstore.dev",
                "commonName": "sigstore-tsa-selfsigned"
              },
              "uri": "https://timestamp.sigstore.dev/api/v1/timestamp",
              "certChain": {
                "certificates": [
                  {
                    "rawBytes": "MIICEDCCAZagAwIBAgIUOhNULwyQYe68wUMvy4qOiyojiwwwCgYIKoZIzj0EAwMwOTEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MSAwHgYDVQQDExdzaWdzdG9yZS10c2Etc2VsZnNpZ25lZDAeFw0yNTA0MDgwNjU5NDNaFw0zNTA0MDYwNjU5NDNaMC4xFTATBgNVBAoTDHNpZ3N0b3JlLmRldjEVMBMGA1UEAxMMc2lnc3RvcmUtdHNhMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4ra2Z8hKNig2T9kFjCAToGG30jky+WQv3BzL+mKvh1SKNR/UwuwsfNCg4sryoYAd8E6isovVA3M4aoNdm9QDi50Z8nTEyvqgfDPtTIwXItfiW/AFf1V7uwkbkAoj0xxco2owaDAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFIn9eUOHz9BlRsMCRscsc1t9tOsDMB8GA1UdIwQYMBaAFJjsAe9/u1H/1JUeb4qImFMHic6/MBYGA1UdJQEB/wQMMAoGCCsGAQUFBwMIMAoGCCqGSM49BAMDA2gAMGUCMDtpsV/6KaO0qyF/UMsX2aSUXKQFdoGTptQGc0ftq1csulHPGG6dsmyMNd3JB+G3EQIxAOajvBcjpJmKb4Nv+2Taoj8Uc5+b6ih6FXCCKraSqupe07zqswMcXJTe1cExvHvvlw=="
                  },
                  {
                    "rawBytes": "MIIB9zCCAXygAwIBAgIUV7f0GLDOoEzIh8LXSW80OJiUp14wCgYIKoZIzj0EAwMwOTEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MSAwHgYDVQQDExdzaWdzdG9yZS10c2Etc2VsZnNpZ25lZDAeFw0yNTA0MDgwNjU5NDNaFw0zNTA0MDYwNjU5NDNaMDkxFTATBgNVBAoTDHNpZ3N0b3JlLmRldjEgMB4GA1UEAxMXc2lnc3RvcmUtdHNhLXNlbGZzaWduZWQwdjAQBgcqhkjOPQIBBgUrgQQAIgNiAAQUQNtfRT/ou3YATa6wB/kKTe70cfJwyRIBovMnt8RcJph/COE82uyS6FmppLLL1VBPGcPfpQPYJNXzWwi8icwhKQ6W/Qe2h3oebBb2FHpwNJDqo+TMaC/tdfkv/ElJB72jRTBDMA4GA1UdDwEB/wQEAwIBBjASBgNVHRMBAf8ECDAGAQH/AgEAMB0GA1UdDgQWBBSY7AHvf7tR/9SVHm+KiJhTB4nOvzAKBggqhkjOPQQDAwNpADBmAjEAwGEGrfGZR1cen1R8/DTVMI943LssZmJRtDp/i7SfGHmGRP6gRbuj9vOK3b67Z0QQAjEAuT2H673LQEaHTcyQSZrkp4mX7WwkmF+sVbkYY5mXN+RMH13KUEHHOqASaemYWK/E"
                  }
                ]
              },
              "validFor": {
                "start": "2025-07-04T00:00:00Z"
              }
            }
          ]
        }

        """#

    /// `signing_config.v0.2.json` of the production instance.
    package static var productionSigningConfig: [UInt8] {
        Array(productionSigningConfigText.utf8)
    }
    private static let productionSigningConfigText = #"""
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

    /// When these were the newest files of the staging instance: 2026-04-17.
    package static let stagingDate = Instant(seconds: 1776384000)

    /// `root.json` of the staging instance.
    package static var stagingRoot: [UInt8] {
        Array(stagingRootText.utf8)
    }
    private static let stagingRootText = #"""
        {
         "signatures": [
          {
           "keyid": "aa61e09f6af7662ac686cf0c6364079f63d3e7a86836684eeced93eace3acd81",
           "sig": "304502201419a6f003291be4cd00c110a00e9d9b152a78181ed3c54edf9d22a79938276f022100f751058c6c3eb6aecf277db367b4858d3612abd1ad96c40fd71ebbd26c944055"
          },
          {
           "keyid": "61f9609d2655b346fcebccd66b509d5828168d5e447110e261f0bcc8553624bc",
           "sig": "3045022007313e0afd5f282a1383a4f8f7a150e266a059420e1036eee222ce0053e36a67022100dfb05a4d1e6be2f43ce30f030783ff7a747cda5d84f341fd03b06dff32fba5bd"
          },
          {
           "keyid": "9471fbda95411d10109e467ad526082d15f14a38de54ea2ada9687ab39d8e237",
           "sig": ""
          },
          {
           "keyid": "0374a9e18a20a2103736cb4277e2fdd7f8453642c7d9eaf4ad8aee9cf2d47bb5",
           "sig": ""
          }
         ],
         "signed": {
          "_type": "root",
          "consistent_snapshot": true,
          "expires": "2026-10-16T19:39:43Z",
          "keys": {
           "0374a9e18a20a2103736cb4277e2fdd7f8453642c7d9eaf4ad8aee9cf2d47bb5": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoxkvDOmtGEknB3M+ZkPts8joDM0X\nIH5JZwPlgC2CXs/eqOuNF8AcEWwGYRiDhV/IMlQw5bg8PLICQcgsbrDiKg==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@mnm678"
           },
           "61f9609d2655b346fcebccd66b509d5828168d5e447110e261f0bcc8553624bc": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE++Wv+DcLRk+mfkmlpCwl1GUi9EMh\npBUTz8K0fH7bE4mQuViGSyWA/eyMc0HvzZi6Xr0diHw0/lUPBvok214YQw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@kommendorkapten"
           },
           "9471fbda95411d10109e467ad526082d15f14a38de54ea2ada9687ab39d8e237": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFHDb85JH+JYR1LQmxiz4UMokVMnP\nxKoWpaEnFCKXH8W4Fc/DfIxMnkpjCuvWUBdJXkO0aDIxwsij8TOFh2R7dw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@joshuagl"
           },
           "aa61e09f6af7662ac686cf0c6364079f63d3e7a86836684eeced93eace3acd81": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEohqIdE+yTl4OxpX8ZxNUPrg3SL9H\nBDnhZuceKkxy2oMhUOxhWweZeG3bfM1T4ZLnJimC6CAYVU5+F5jZCoftRw==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-keyowner": "@jku"
           },
           "c3479007e861445ce5dc109d9661ed77b35bbc0e3f161852c46114266fc2daa4": {
            "keytype": "ecdsa",
            "keyval": {
             "public": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExxmEtmhF5U+i+v/6he4BcSLzCgMx\n/0qSrvDg6bUWwUrkSKS2vDpcJrhGy5fmmhRrGawjPp1ALpC3y1kqFTpXDg==\n-----END PUBLIC KEY-----\n"
            },
            "scheme": "ecdsa-sha2-nistp256",
            "x-tuf-on-ci-online-uri": "gcpkms:projects/projectsigstore-staging/locations/global/keyRings/tuf-keyring/cryptoKeys/tuf-key/cryptoKeyVersions/2"
           }
          },
          "roles": {
           "root": {
            "keyids": [
             "aa61e09f6af7662ac686cf0c6364079f63d3e7a86836684eeced93eace3acd81",
             "61f9609d2655b346fcebccd66b509d5828168d5e447110e261f0bcc8553624bc",
             "9471fbda95411d10109e467ad526082d15f14a38de54ea2ada9687ab39d8e237",
             "0374a9e18a20a2103736cb4277e2fdd7f8453642c7d9eaf4ad8aee9cf2d47bb5"
            ],
            "threshold": 2
           },
           "snapshot": {
            "keyids": [
             "c3479007e861445ce5dc109d9661ed77b35bbc0e3f161852c46114266fc2daa4"
            ],
            "threshold": 1,
            "x-tuf-on-ci-expiry-period": 3650,
            "x-tuf-on-ci-signing-period": 365
           },
           "targets": {
            "keyids": [
             "aa61e09f6af7662ac686cf0c6364079f63d3e7a86836684eeced93eace3acd81",
             "61f9609d2655b346fcebccd66b509d5828168d5e447110e261f0bcc8553624bc",
             "9471fbda95411d10109e467ad526082d15f14a38de54ea2ada9687ab39d8e237",
             "0374a9e18a20a2103736cb4277e2fdd7f8453642c7d9eaf4ad8aee9cf2d47bb5"
            ],
            "threshold": 1
           },
           "timestamp": {
            "keyids": [
             "c3479007e861445ce5dc109d9661ed77b35bbc0e3f161852c46114266fc2daa4"
            ],
            "threshold": 1,
            "x-tuf-on-ci-expiry-period": 7,
            "x-tuf-on-ci-signing-period": 6
           }
          },
          "spec_version": "1.0",
          "version": 14,
          "x-tuf-on-ci-expiry-period": 182,
          "x-tuf-on-ci-signing-period": 35
         }
        }
        """#

    /// `trusted_root.json` of the staging instance.
    package static var stagingTrustedRoot: [UInt8] {
        Array(stagingTrustedRootText.utf8)
    }
    private static let stagingTrustedRootText = #"""
        {
          "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
          "tlogs": [
            {
              "baseUrl": "https://rekor.sigstage.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDODRU688UYGuy54mNUlaEBiQdTE9nYLr0lg6RXowI/QV/RE1azBn4Eg5/2uTOMbhB1/gfcHzijzFi9Tk+g1Prg==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2021-01-12T11:53:27Z"
                }
              },
              "logId": {
                "keyId": "0y8wo8MtY5wrdiIFohx7sHeI5oKDpK5vQhGHI6G+pJY="
              }
            },
            {
              "baseUrl": "https://log2025-alpha1.rekor.sigstage.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MCowBQYDK2VwAyEAPn+AREHoBaZ7wgS1zBqpxmLSGnyhxXj4lFxSdWVB8o8=",
                "keyDetails": "PKIX_ED25519",
                "validFor": {
                  "start": "2025-04-16T00:00:00Z",
                  "end": "2025-09-04T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "8w1amZ2S5mJIQkQmPxdMuOrL/oJkvFg9MnQXmeOCXck="
              }
            },
            {
              "baseUrl": "https://log2025-alpha2.rekor.sigstage.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MCowBQYDK2VwAyEAkrA8Ou2FtN7kYXCP/lpvF8vQrvh4nj+91+PWOGGzfGc=",
                "keyDetails": "PKIX_ED25519",
                "validFor": {
                  "start": "2025-08-08T00:00:00Z",
                  "end": "2025-09-28T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "KfSiSX2iRLyhK62SUVL47vVcqqRx/RAewpKJm8IdZTo="
              }
            },
            {
              "baseUrl": "https://log2025-alpha3.rekor.sigstage.dev",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MCowBQYDK2VwAyEAlD3dVc8yaP25mPtT/sJ59D3LLxGBgW/qYrM6x6KmOqk=",
                "keyDetails": "PKIX_ED25519",
                "validFor": {
                  "start": "2025-09-22T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "09OnDKEw7/hpZiYVPoTRzRbglHk0sylsUovegnRUlJY="
              }
            }
          ],
          "certificateAuthorities": [
            {
              "subject": {
                "organization": "sigstore.dev",
                "commonName": "sigstore"
              },
              "uri": "https://fulcio.sigstage.dev",
              "certChain": {
                "certificates": [
                  {
                    "rawBytes": "MIICGTCCAaCgAwIBAgITJta/okfgHvjabGm1BOzuhrwA1TAKBggqhkjOPQQDAzAqMRUwEwYDVQQKEwxzaWdzdG9yZS5kZXYxETAPBgNVBAMTCHNpZ3N0b3JlMB4XDTIyMDQxNDIxMzg0MFoXDTMyMDMyMjE2NTA0NVowNzEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MR4wHAYDVQQDExVzaWdzdG9yZS1pbnRlcm1lZGlhdGUwdjAQBgcqhkjOPQIBBgUrgQQAIgNiAASosAySWJQ/tK5r8T5aHqavk0oI+BKQbnLLdmOMRXHQF/4Hx9KtNfpcdjH9hNKQSBxSlLFFN3tvFCco0qFBzWYwZtsYsBe1l91qYn/9VHFTaEVwYQWIJEEvrs0fvPuAqjajezB5MA4GA1UdDwEB/wQEAwIBBjATBgNVHSUEDDAKBggrBgEFBQcDAzASBgNVHRMBAf8ECDAGAQH/AgEAMB0GA1UdDgQWBBRxhjCmFHxib/n31vQFGn9f/+tvrDAfBgNVHSMEGDAWgBT/QjK6aH2rOnCv3AzUGuI+h49mZTAKBggqhkjOPQQDAwNnADBkAjAM1lbKkcqQlE/UspMTbWNo1y2TaJ44tx3l/FJFceTSdDZ+0W1OHHeU4twie/lq8XgCMHQxgEv26xNNiAGyPXbkYgrDPvbOqp0UeWX4mJnLSrBr3aN/KX1SBrKQu220FmVL0Q=="
                  },
                  {
                    "rawBytes": "MIIB9jCCAXugAwIBAgITDdEJvluliE0AzYaIE4jTMdnFTzAKBggqhkjOPQQDAzAqMRUwEwYDVQQKEwxzaWdzdG9yZS5kZXYxETAPBgNVBAMTCHNpZ3N0b3JlMB4XDTIyMDMyNTE2NTA0NloXDTMyMDMyMjE2NTA0NVowKjEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MREwDwYDVQQDEwhzaWdzdG9yZTB2MBAGByqGSM49AgEGBSuBBAAiA2IABMo9BUNk9QIYisYysC24+2OytoV72YiLonYcqR3yeVnYziPt7Xv++CYE8yoCTiwedUECCWKOcvQKRCJZb9ht4Hzy+VvBx36hK+C6sECCSR0x6pPSiz+cTk1f788ZjBlUZaNjMGEwDgYDVR0PAQH/BAQDAgEGMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFP9CMrpofas6cK/cDNQa4j6Hj2ZlMB8GA1UdIwQYMBaAFP9CMrpofas6cK/cDNQa4j6Hj2ZlMAoGCCqGSM49BAMDA2kAMGYCMQD+kojuzMwztNay9Ibzjuk//ZL5m6T2OCsm45l1lY004pcb984L926BowodoirFMcMCMQDIJtFHhP/1D3a+M3dAGomOb6O4CmTry3TTPbPsAFnv22YA0Y+P21NVoxKDjdu0tkw="
                  }
                ]
              },
              "validFor": {
                "start": "2022-04-14T21:38:40Z"
              }
            }
          ],
          "ctlogs": [
            {
              "baseUrl": "https://ctfe.sigstage.dev/test",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MIICCgKCAgEA27A2MPQXm0I0v7/Ly5BIauDjRZF5Jor9vU+QheoE2UIIsZHcyYq3slHzSSHy2lLj1ZD2d91CtJ492ZXqnBmsr4TwZ9jQ05tW2mGIRI8u2DqN8LpuNYZGz/f9SZrjhQQmUttqWmtu3UoLfKz6NbNXUnoo+NhZFcFRLXJ8VporVhuiAmL7zqT53cXR3yQfFPCUDeGnRksnlhVIAJc3AHZZSHQJ8DEXMhh35TVv2nYhTI3rID7GwjXXw4ocz7RGDD37ky6p39Tl5NB71gT1eSqhZhGHEYHIPXraEBd5+3w9qIuLWlp5Ej/K6Mu4ELioXKCUimCbwy+Cs8UhHFlqcyg4AysOHJwIadXIa8LsY51jnVSGrGOEBZevopmQPNPtyfFY3dmXSS+6Z3RD2Gd6oDnNGJzpSyEk410Ag5uvNDfYzJLCWX9tU8lIxNwdFYmIwpd89HijyRyoGnoJ3entd63cvKfuuix5r+GHyKp1Xm1L5j5AWM6P+z0xigwkiXnt+adexAl1J9wdDxv/pUFEESRF4DG8DFGVtbdH6aR1A5/vD4krO4tC1QYUSeyL5Mvsw8WRqIFHcXtgybtxylljvNcGMV1KXQC8UFDmpGZVDSHx6v3e/BHMrZ7gjoCCfVMZ/cFcQi0W2AIHPYEMH/C95J2r4XbHMRdYXpovpOoT5Ca78gsCAwEAAQ==",
                "keyDetails": "PKCS1_RSA_PKCS1V5",
                "validFor": {
                  "start": "2021-03-14T00:00:00Z",
                  "end": "2022-07-31T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "G3wUKk6ZK6ffHh/FdCRUE2wVekyzHEEIpSG4savnv0w="
              }
            },
            {
              "baseUrl": "https://ctfe.sigstage.dev/2022",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEh99xuRi6slBFd8VUJoK/rLigy4bYeSYWO/fE6Br7r0D8NpMI94+A63LR/WvLxpUUGBpY8IJA3iU2telag5CRpA==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2022-07-01T00:00:00Z",
                  "end": "2022-07-31T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "++JKOMQt7SJ3ynUHnCfnDhcKP8/58J4TueMqXuk3HmA="
              }
            },
            {
              "baseUrl": "https://ctfe.sigstage.dev/2022-2",
              "hashAlgorithm": "SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8gEDKNme8AnXuPBgHjrtXdS6miHqc24CRblNEOFpiJRngeq8Ko73Y+K18yRYVf1DXD4AVLwvKyzdNdl5n0jUSQ==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2022-07-01T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "KzC83GiIyeLh2CYpXnQfSDkxlgLynDPLXkNA/rKshno="
              }
            },
            {
              "baseUrl": "https://log2026-1.ctfe.sigstage.dev",
              "hashAlgorithm":"SHA2_256",
              "publicKey": {
                "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEv8+Fp+klTMlOd0FU+eekotPzlaF9orvv9ZgdLXq5+MmoGThLNigXIapXjW0lujsU6+ZHKZ6UPzSuz+V8YxLoQw==",
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {
                  "start": "2026-01-14T00:00:00Z"
                }
              },
              "logId": {
                "keyId": "PmBxU3RuGJLgkLI2sUl2Jy9ntE1vks5vdxFKtyKgprY="
              }
            }
          ],
          "timestampAuthorities": [
            {
              "subject": {
                "organization": "sigstore.dev",
                "commonName": "sigstore-tsa-selfsigned"
              },
              "uri": "https://timestamp.sigstage.dev/api/v1/timestamp",
              "certChain": {
                "certificates": [
                  {
                    "rawBytes": "MIICDzCCAZagAwIBAgIUCjWhBmHV4kFzxomWp/J98n4DfKcwCgYIKoZIzj0EAwMwOTEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MSAwHgYDVQQDExdzaWdzdG9yZS10c2Etc2VsZnNpZ25lZDAeFw0yNTAzMjgwOTE0MDZaFw0zNTAzMjYwODE0MDZaMC4xFTATBgNVBAoTDHNpZ3N0b3JlLmRldjEVMBMGA1UEAxMMc2lnc3RvcmUtdHNhMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEx1v5F3HpD9egHuknpBFlRz7QBRDJu4aeVzt9zJLRY0lvmx1lF7WBM2c9AN8ZGPQsmDqHlJN2R/7+RxLkvlLzkc19IOx38t7mGGEcB7agUDdCF/Ky3RTLSK0Xo/0AgHQdo2owaDAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFKj8ZPYo3i7mO3NPVIxSxOGc3VOlMB8GA1UdIwQYMBaAFDsgRlletTJNRzDObmPuc3RH8gR9MBYGA1UdJQEB/wQMMAoGCCsGAQUFBwMIMAoGCCqGSM49BAMDA2cAMGQCMESvVS6GGtF33+J19TfwENWJXjRv4i0/HQFwLUSkX6TfV7g0nG8VnqNHJLvEpAtOjQIwUD3uywTXorQP1DgbV09rF9Yen+CEqs/iEpieJWPst280SSOZ5Na+dyPVk9/8SFk6"
                  },
                  {
                    "rawBytes": "MIIB9zCCAXygAwIBAgIUCPExEFKiQh0dP4sp5ltmSYSSkFUwCgYIKoZIzj0EAwMwOTEVMBMGA1UEChMMc2lnc3RvcmUuZGV2MSAwHgYDVQQDExdzaWdzdG9yZS10c2Etc2VsZnNpZ25lZDAeFw0yNTAzMjgwOTE0MDZaFw0zNTAzMjYwODE0MDZaMDkxFTATBgNVBAoTDHNpZ3N0b3JlLmRldjEgMB4GA1UEAxMXc2lnc3RvcmUtdHNhLXNlbGZzaWduZWQwdjAQBgcqhkjOPQIBBgUrgQQAIgNiAATt0tIDWyo4ARfL9BaSo0W5bJQEbKJTU/u7llvdjSI5aTkOAJa8tixn2+LEfPG4dMFdsMPtsIuU1qn2OqFiuMk6vHv/c+az25RQVY1oo50iMb0jIL3N4FgwhPFpZnCbQPOjRTBDMA4GA1UdDwEB/wQEAwIBBjASBgNVHRMBAf8ECDAGAQH/AgEAMB0GA1UdDgQWBBQ7IEZZXrUyTUcwzm5j7nN0R/IEfTAKBggqhkjOPQQDAwNpADBmAjEA2MI1VXgbf3dUOSc95hSRypBKOab18eh2xzQtxUsHvWeY+1iFgyMluUuNR6taoSmFAjEA31m2czguZhKYX+4JSKu5pRYhBTXAd8KKQ3xdPRX/qCaLvT2qJAEQ1YQM3EJRrtI7"
                  }
                ]
              },
              "validFor": {
                "start": "2025-04-09T00:00:00Z"
              }
            }
          ]
        }

        """#

    /// `signing_config.v0.2.json` of the staging instance.
    package static var stagingSigningConfig: [UInt8] {
        Array(stagingSigningConfigText.utf8)
    }
    private static let stagingSigningConfigText = #"""
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
