//! Keys of GnuPG, and whether a message that they signed counts now.
//!
//! What counts is what counts for gpg, which podman and skopeo ask: a key that has expired since, or was revoked for whatever reason,
//! signs nothing any more, and a subkey's signature is that of its primary key if the two vouch for each other. Broken hashes (SHA-1 and
//! older), which gpg may still accept under a text, are refused there; in what keys say of themselves they are read, as old keys have them.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{Duration, Fingerprint, KeyDetails as _, Tag, Timestamp};

use super::openpgp::{self, KeyringError, Message};
use super::payload::{Kind, Payload};
use super::signature::{TrustError, sift};

/// Keys that are trusted, and no others.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Trusts the keys in a file, armored or not.
    ///
    /// # Errors
    /// [`KeyringError`]; a file must have one at least.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        self.keys.extend(openpgp::keys(bytes)?);
        Ok(())
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a signed message says, if it counts and is about the image with this digest.
    ///
    /// # Errors
    /// Why it does not count, as text.
    pub fn check(&self, message: &[u8], digest: &str) -> Result<Payload, String> {
        let payload = Payload::parse(Kind::Atomic, &self.open(message, Timestamp::now())?)?;
        if payload.digest != digest {
            return Err("it is that of another image".to_owned());
        }
        Ok(payload)
    }

    /// What the good ones among the signatures of an image say, where `accept` has the last word.
    ///
    /// # Errors
    /// [`TrustError`] if there is none.
    pub fn good(
        &self,
        messages: &[Vec<u8>],
        digest: &str,
        accept: impl Fn(&Payload) -> Result<(), String>,
    ) -> Result<Vec<Payload>, TrustError> {
        sift(digest, messages.iter().map(|message| self.check(message, digest)), accept)
    }

    /// The text of a message, if its signature counts.
    fn open(&self, message: &[u8], now: Timestamp) -> Result<Vec<u8>, String> {
        let Message { text, signature } = Message::parse(message)?;
        let made = sound(&signature, now)?;
        let signer = self.keys.iter().find_map(|key| {
            let subkeys = key.public_subkeys.iter();
            if signature.verify(&key.primary_key, text.data()).is_ok() {
                return Some((key, None));
            }
            let mut subkeys = subkeys.filter(|subkey| signature.verify(&subkey.key, text.data()).is_ok());
            subkeys.next().map(|subkey| (key, Some(subkey)))
        });
        let (key, subkey) = signer.ok_or_else(|| "it is not that of a key that is trusted".to_owned())?;
        may_sign(key, subkey, made, now)
            .map_err(|reason| format!("the key {:X} {reason}", key.primary_key.fingerprint()))?;
        Ok(text.into_bytes().to_vec())
    }
}

/// When a signature was made, if nothing that it says of itself speaks against it.
fn sound(signature: &Signature, now: Timestamp) -> Result<Timestamp, String> {
    let config = signature.config().ok_or_else(|| "its version is not known".to_owned())?;
    if config.typ != SignatureType::Binary {
        return Err("it is not a signature of a document".to_owned());
    }
    if matches!(config.hash_alg, HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160) {
        return Err(format!("its hash, {}, is too weak", config.hash_alg));
    }
    // What is critical must be understood; notations have names that nobody agreed on here.
    let is_strange = |data: &SubpacketData| {
        matches!(data, SubpacketData::Notation(_) | SubpacketData::Other(..) | SubpacketData::Experimental(..))
    };
    if config.hashed_subpackets().any(|packet| packet.is_critical && is_strange(&packet.data)) {
        return Err("it has a critical field that is not known".to_owned());
    }
    let made = signature.created().ok_or_else(|| "it does not say when it was made".to_owned())?;
    if ends(made, signature.signature_expiration_time()).is_some_and(|end| end <= seconds(now)) {
        return Err("it has expired".to_owned());
    }
    Ok(made)
}

fn seconds(time: Timestamp) -> u64 {
    time.as_secs().into()
}

/// When something ends; never, if it lasts for no time.
fn ends(begin: Timestamp, lasts: Option<Duration>) -> Option<u64> {
    let lasts = std::time::Duration::from(lasts?).as_secs();
    (lasts > 0).then(|| seconds(begin) + lasts)
}

/// Whether a key, or one of its subkeys, may have signed something then, and still stands for it now.
fn may_sign(
    key: &SignedPublicKey,
    subkey: Option<&SignedPublicSubKey>,
    made: Timestamp,
    now: Timestamp,
) -> Result<(), &'static str> {
    let about = About::of(key, now);
    if about.is_revoked(key) {
        return Err("is revoked");
    }
    if !about.is_certified() {
        return Err("does not certify itself");
    }
    let created = key.primary_key.created_at();
    if ends(created, about.expiration()).is_some_and(|end| end <= seconds(now)) {
        return Err("has expired");
    }
    let Some(subkey) = subkey else {
        return if created > made || created > now {
            Err("is younger than the signature")
        } else if about.signs() {
            Ok(())
        } else {
            Err("is not for signing")
        };
    };
    let is_primarys = |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let own = || subkey.signatures.iter().filter(is_primarys);
    if own().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("has revoked the subkey");
    }
    let bindings = own().filter(|signature| is_live(signature, now));
    let binding = bindings.max_by_key(|signature| signature.created()).ok_or("does not vouch for the subkey")?;
    let created = subkey.key.created_at();
    if ends(created, binding.key_expiration_time()).is_some_and(|end| end <= seconds(now)) {
        return Err("has a subkey that has expired");
    }
    if created > made || created > now {
        return Err("has a subkey that is younger than the signature");
    }
    let is_mutual = |back: &Signature| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok();
    if flags(binding).unwrap_or(true) && binding.embedded_signature().is_some_and(is_mutual) {
        Ok(())
    } else {
        Err("has a subkey that is not for signing")
    }
}

/// Whether a statement about a key still holds.
fn is_live(signature: &Signature, now: Timestamp) -> bool {
    let begin = signature.created();
    begin.is_some_and(|begin| ends(begin, signature.signature_expiration_time()).is_none_or(|end| end > seconds(now)))
}

/// Whether a statement about a key says that it may sign; a key of which nothing is said may do what it can.
fn flags(signature: &Signature) -> Option<bool> {
    let config = signature.config()?;
    config.hashed_subpackets().find_map(|packet| match &packet.data {
        SubpacketData::KeyFlags(flags) => Some(flags.sign()),
        _ => None,
    })
}

/// What a key says of itself.
struct About<'a> {
    /// Its last word on itself.
    direct: Option<&'a Signature>,
    /// Its last word on each of its names that it has not revoked.
    names: Vec<&'a Signature>,
}

impl<'a> About<'a> {
    fn of(key: &'a SignedPublicKey, now: Timestamp) -> Self {
        let primary = &key.primary_key;
        let direct = key.details.direct_signatures.iter();
        let direct = direct
            .filter(|signature| signature.typ() == Some(SignatureType::Key) && is_live(signature, now))
            .filter(|signature| signature.verify_key(primary).is_ok())
            .max_by_key(|signature| signature.created());
        let is_revocation = |signature: &Signature| signature.typ() == Some(SignatureType::CertRevocation);
        let names = key.details.users.iter().filter_map(|user| {
            let own = user.signatures.iter().filter(|signature| {
                is_live(signature, now) && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            });
            let last = own.max_by_key(|signature| (signature.created(), is_revocation(signature)));
            last.filter(|last| !is_revocation(last))
        });
        Self { direct, names: names.collect() }
    }

    fn is_certified(&self) -> bool {
        self.direct.is_some() || !self.names.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &'a Signature> {
        self.direct.into_iter().chain(self.names.iter().copied())
    }

    /// How long the key lasts: what it says directly, else what it said last with one of its names.
    fn expiration(&self) -> Option<Duration> {
        let direct = self.direct.and_then(Signature::key_expiration_time);
        direct.or_else(|| {
            let limits = self.names.iter().filter(|signature| signature.key_expiration_time().is_some());
            limits.max_by_key(|signature| signature.created())?.key_expiration_time()
        })
    }

    /// Whether the key itself may sign.
    fn signs(&self) -> bool {
        let said = self.all().filter(|signature| flags(signature).is_some());
        said.max_by_key(|signature| signature.created()).and_then(flags).unwrap_or(true)
    }

    /// Whether the key is revoked, by itself or by whom it named for that, whose key need not be there.
    fn is_revoked(&self, key: &SignedPublicKey) -> bool {
        let primary = &key.primary_key;
        let is_named = |revocation: &Signature| {
            let by = revocation.issuer_fingerprint();
            let ids = revocation.issuer_key_id();
            self.all().filter_map(Signature::revocation_key).any(|named| {
                let named = &named.fingerprint[..];
                by.iter().any(|issuer: &&Fingerprint| issuer.as_bytes() == named)
                    || ids.iter().any(|id| named.ends_with(id.as_ref()))
            })
        };
        let mut revocations = key.details.revocation_signatures.iter();
        revocations.any(|revocation| revocation.verify_key(primary).is_ok() || is_named(revocation))
    }
}
