//! The [`Keyring`] itself: an index of names and writers over the files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use hashbrown::{HashMap, HashSet};

use super::{KeyringError, Succession, check, file, succession};
use crate::wire::{
    id::XaeroID,
    key::PublicKey,
    key_file,
    sign::{SecretIdentity, Signer},
};

/// The name of the node's own identity, unless it was given another: who writes an event without an author.
pub const OWN_NAME: &str = "self";

/// The named identities of one data directory.
///
/// Shared between threads behind an `Arc`. Looking something up takes a read lock that a writer holds only to insert
/// one entry, never while it generates a key or touches the disk.
pub struct Keyring {
    dir: PathBuf,
    index: RwLock<Index>,
    /// Held while an identity is made or imported: two threads that want the same name get the same identity.
    making: Mutex<()>,
    damaged: Vec<KeyringError>,
    /// The name of the node's own identity.
    own: String,
    /// The writers whose keys were retired. Looked up once, after succession if there is one; a fork adds to them.
    retired: OnceLock<RwLock<HashSet<XaeroID>>>,
    /// Writers whose logs forked, each with the one that continues its work in this directory.
    continued: RwLock<HashMap<XaeroID, XaeroID>>,
    /// Whether there are any, which every event that is published asks.
    any_continued: AtomicBool,
}

/// What is known without opening a file. Only identities whose files were whole are in it.
#[derive(Default)]
struct Index {
    by_name: BTreeMap<String, Arc<Entry>>,
    by_id: HashMap<XaeroID, Arc<Entry>>,
}

/// One identity.
struct Entry {
    name: String,
    id: XaeroID,
    public: PublicKey,
    /// The secret, once something was signed with it.
    signer: Mutex<Option<Arc<SecretIdentity>>>,
}

impl Keyring {
    /// Opens the directory, makes it if there is none, and reads the public part of every key in it.
    ///
    /// A key file that cannot be used does not keep the others from being used: see [`damaged`](Self::damaged).
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or others than its owner may enter it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, KeyringError> {
        let dir = dir.into();
        file::open_directory(&dir)?;
        let (mut index, mut damaged) = (Index::default(), Vec::new());
        let mut names = file::names(&dir)?;
        names.sort_unstable();
        for name in names {
            match Entry::read(&dir, &name).and_then(|entry| index.insert(entry)) {
                Ok(_) => {}
                Err(error) => damaged.push(error),
            }
        }
        let continued = succession::continued(&dir);
        Ok(Self {
            dir,
            index: RwLock::new(index),
            making: Mutex::new(()),
            damaged,
            own: OWN_NAME.to_owned(),
            retired: OnceLock::new(),
            any_continued: AtomicBool::new(!continued.is_empty()),
            continued: RwLock::new(continued),
        })
    }

    /// The same keyring, with another name for the node's own identity.
    ///
    /// # Errors
    /// [`KeyringError::BadName`].
    pub fn with_own_name(mut self, name: &str) -> Result<Self, KeyringError> {
        check(name)?;
        name.clone_into(&mut self.own);
        Ok(self)
    }

    /// Why each key file that could not be used when the keyring was opened was left out, for the log.
    #[must_use]
    pub fn damaged(&self) -> &[KeyringError] {
        &self.damaged
    }

    /// The identity with this name; it is made, and on disk, where there was none.
    ///
    /// # Errors
    /// For a bad name, a key file that cannot be used, or a disk that cannot be written.
    pub fn make_or_find(&self, name: &str) -> Result<XaeroID, KeyringError> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        check(name)?;
        let _making = self.making();
        match self.find_on_disk(name)? {
            Some(id) => Ok(id),
            None => self.generate(name),
        }
    }

    /// A new identity with this name.
    ///
    /// # Errors
    /// [`KeyringError::Exists`] where there is one, usable or not; otherwise as [`make_or_find`](Self::make_or_find).
    pub fn create(&self, name: &str) -> Result<XaeroID, KeyringError> {
        check(name)?;
        let _making = self.making();
        self.must_be_free(name)?;
        self.generate(name)
    }

    /// The node's own identity, made on first use.
    ///
    /// # Errors
    /// As [`make_or_find`](Self::make_or_find).
    pub fn own(&self) -> Result<XaeroID, KeyringError> {
        self.make_or_find(&self.own)
    }

    /// The identity with this name, if it is here and its file was whole.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<XaeroID> {
        self.index().by_name.get(name).map(|entry| entry.id)
    }

    /// The identity with this name; never makes one.
    ///
    /// # Errors
    /// [`KeyringError::UnknownName`], or what is wrong with the name or its file.
    pub fn existing(&self, name: &str) -> Result<XaeroID, KeyringError> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        check(name)?;
        let _making = self.making();
        self.find_on_disk(name)?.ok_or_else(|| KeyringError::UnknownName(name.to_owned()))
    }

    /// Whether this writer's key is here. Cheap: a read lock and a look-up.
    #[must_use]
    pub fn contains(&self, id: XaeroID) -> bool {
        self.index().by_id.contains_key(&id)
    }

    /// All usable identities, by name.
    #[must_use]
    pub fn names(&self) -> Vec<(String, XaeroID)> {
        self.index().by_name.values().map(|entry| (entry.name.clone(), entry.id)).collect()
    }

    /// The public key of the identity with this name.
    ///
    /// # Errors
    /// As [`existing`](Self::existing).
    pub fn public_key(&self, name: &str) -> Result<PublicKey, KeyringError> {
        Ok(self.entry(self.existing(name)?)?.public.clone())
    }

    /// What signs for this writer. The first call for a writer reads its secret key and tries it out.
    ///
    /// # Errors
    /// [`KeyringError::UnknownWriter`], or what is wrong with the key's file. A later call tries again.
    pub fn signer(&self, id: XaeroID) -> Result<Arc<dyn Signer>, KeyringError> {
        let entry = self.entry(id)?;
        // Locked while the file is read, so that the key is loaded once. A panic leaves either state whole.
        let mut signer = entry.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = &*signer {
            return Ok(Arc::clone(signer) as Arc<dyn Signer>);
        }
        let loaded = Arc::new(self.load(&entry)?);
        *signer = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The public key of this writer, if its key is here or was retired here.
    pub fn key_of(&self, id: XaeroID) -> Option<PublicKey> {
        if let Ok(entry) = self.entry(id) {
            return Some(entry.public.clone());
        }
        let retired = if self.can_sign(id) { succession::retired_secret(&self.dir, id).ok() } else { None };
        retired.map(|secret| secret.public_key().clone())
    }

    /// Whether heads can be signed for this writer here: its key is here, or it was until the directory was copied.
    pub fn can_sign(&self, id: XaeroID) -> bool {
        self.contains(id) || self.retired().read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// What signs the heads of this writer's logs. A key that was retired signs what it wrote before the directory was
    /// copied, which nobody else may be left to do; it writes nothing new.
    ///
    /// # Errors
    /// As [`signer`](Self::signer).
    pub fn head_signer(&self, id: XaeroID) -> Result<Arc<dyn Signer>, KeyringError> {
        if self.contains(id) || !self.can_sign(id) {
            return self.signer(id);
        }
        succession::retired_secret(&self.dir, id).map(|secret| Arc::new(secret) as Arc<dyn Signer>)
    }

    /// Writes a copy of the identity's key file, secret included, for a backup. Never over a file that is there.
    ///
    /// A writer is one key in *one* data directory: using the copy elsewhere while this one is in use forks the writer's
    /// log.
    ///
    /// # Errors
    /// As [`existing`](Self::existing), or where the copy cannot be written.
    pub fn export(&self, name: &str, to: &Path) -> Result<(), KeyringError> {
        let entry = self.entry(self.existing(name)?)?;
        let identity = self.load(&entry)?;
        file::write_export(to, &key_file::encode(&identity))
    }

    /// Takes over a key file under this name, once the key in it was tried out.
    ///
    /// The file is trusted to come from its owner: one that was made up to do harm can keep this call from returning.
    ///
    /// # Errors
    /// [`KeyringError::Exists`] where the name is taken, [`KeyringError::AlreadyHere`] where the key is, or what is wrong
    /// with the file.
    pub fn import(&self, name: &str, from: &Path) -> Result<XaeroID, KeyringError> {
        check(name)?;
        let bytes = file::read_foreign(from)?;
        let identity =
            key_file::decode(&bytes).map_err(|source| KeyringError::BadFile { path: from.into(), source })?;
        let _making = self.making();
        self.must_be_free(name)?;
        if let Some(entry) = self.index().by_id.get(&identity.id()) {
            return Err(KeyringError::AlreadyHere(entry.name.clone()));
        }
        self.add(name, &identity)
    }

    /// The secret of a local writer, tried out.
    pub(super) fn secret(&self, id: XaeroID) -> Result<SecretIdentity, KeyringError> {
        self.load(&*self.entry(id)?)
    }

    /// Where the keys lie.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name stands for another writer from now on, whose file is in place.
    pub(super) fn replace(&self, name: &str, old: XaeroID, new: &PublicKey) {
        let entry = Arc::new(Entry::new(name, new.clone()));
        let mut index = self.index_mut();
        index.by_id.remove(&old);
        index.by_id.insert(entry.id, Arc::clone(&entry));
        index.by_name.insert(name.to_owned(), entry);
    }

    /// Who writes here for this writer: it itself, where its key is here, or whoever continues its work since its log
    /// forked. Cheap: a read lock and a look-up. `None` where nobody does.
    #[must_use]
    pub fn writing_for(&self, writer: XaeroID) -> Option<XaeroID> {
        if self.contains(writer) {
            return Some(writer);
        }
        if !self.any_continued.load(Ordering::Acquire) {
            return None;
        }
        let continued = self.continued.read().unwrap_or_else(PoisonError::into_inner);
        let mut heir = writer;
        // A key is never its own heir's heir; were the files to say so, the search ends all the same.
        for _ in 0..continued.len() {
            heir = *continued.get(&heir)?;
            if self.contains(heir) {
                return Some(heir);
            }
        }
        None
    }

    /// Who continues this writer's work in this directory since its log forked, if that happened.
    #[must_use]
    pub fn successor(&self, old: XaeroID) -> Option<Succession> {
        let continued = self.continued.read().unwrap_or_else(PoisonError::into_inner);
        continued.get(&old).map(|new| Succession { old, new: *new })
    }

    /// Whether another writer continues the work of one whose log forked here.
    pub(crate) fn any_continued(&self) -> bool {
        self.any_continued.load(Ordering::Acquire)
    }

    /// Gives the identity of a writer whose log has forked a fresh key that the old one vouches for, unless that was done
    /// before. Its name stands for the new writer from now on. Returns who writes now.
    pub(crate) fn continue_forked(&self, old: XaeroID) -> Result<XaeroID, KeyringError> {
        let _making = self.making();
        let name = match self.entry(old) {
            Ok(entry) => entry.name.clone(),
            Err(unknown) => return self.writing_for(old).ok_or(unknown),
        };
        let succession = self.succeed(&name, old, succession::Cause::Fork)?;
        self.continued.write().unwrap_or_else(PoisonError::into_inner).insert(old, succession.new);
        self.any_continued.store(true, Ordering::Release);
        Ok(succession.new)
    }

    /// The writers whose keys were retired.
    fn retired(&self) -> &RwLock<HashSet<XaeroID>> {
        self.retired.get_or_init(|| RwLock::new(succession::retired(&self.dir)))
    }

    /// The key of this writer lies among the retired ones.
    pub(super) fn note_retired(&self, old: XaeroID) {
        // Whoever looks them up later finds it there.
        if let Some(retired) = self.retired.get() {
            retired.write().unwrap_or_else(PoisonError::into_inner).insert(old);
        }
    }

    /// The name stands for nobody in this process any more; its file stays.
    pub(super) fn forget(&self, name: &str, id: XaeroID) {
        let mut index = self.index_mut();
        index.by_id.remove(&id);
        index.by_name.remove(name);
    }

    fn generate(&self, name: &str) -> Result<XaeroID, KeyringError> {
        self.add(name, &SecretIdentity::generate().map_err(KeyringError::Generate)?)
    }

    /// Puts a new identity on disk and then into the index. The caller holds `making`.
    fn add(&self, name: &str, identity: &SecretIdentity) -> Result<XaeroID, KeyringError> {
        file::write_new(&self.dir, name, &key_file::encode(identity))?;
        self.index_mut().insert(Entry::new(name, identity.public_key().clone()))
    }

    /// The identity with this name from the index, else from a file that was put there or repaired since the keyring was
    /// opened. The caller holds `making`.
    fn find_on_disk(&self, name: &str) -> Result<Option<XaeroID>, KeyringError> {
        if let Some(id) = self.find(name) {
            return Ok(Some(id));
        }
        if !self.has_file(name)? {
            return Ok(None);
        }
        let entry = Entry::read(&self.dir, name)?;
        self.index_mut().insert(entry).map(Some)
    }

    fn must_be_free(&self, name: &str) -> Result<(), KeyringError> {
        // The file is asked too: it may be damaged, or differ in case only on a file system that does not tell them apart.
        if self.find(name).is_some() || self.has_file(name)? {
            return Err(KeyringError::Exists(name.to_owned()));
        }
        Ok(())
    }

    fn has_file(&self, name: &str) -> Result<bool, KeyringError> {
        let path = file::path_of(&self.dir, name);
        // A link that leads nowhere is in the way as well.
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(KeyringError::Io { action: "look at the key file", path, source }),
        }
    }

    fn load(&self, entry: &Entry) -> Result<SecretIdentity, KeyringError> {
        let path = file::path_of(&self.dir, &entry.name);
        let bytes = file::read_private(&path)?;
        match key_file::decode(&bytes) {
            Ok(identity) if identity.id() == entry.id => Ok(identity),
            Ok(_) => Err(KeyringError::Replaced(path)),
            Err(source) => Err(KeyringError::BadFile { path, source }),
        }
    }

    fn entry(&self, id: XaeroID) -> Result<Arc<Entry>, KeyringError> {
        self.index().by_id.get(&id).cloned().ok_or(KeyringError::UnknownWriter(id))
    }

    // No code that can panic runs under these locks, so a poisoned one still guards a whole value.

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("dir", &self.dir).field("names", &self.names()).finish_non_exhaustive()
    }
}

impl Index {
    /// Adds an identity, unless its key is here under another name: two names for one writer would be two owners of one
    /// log.
    fn insert(&mut self, entry: Entry) -> Result<XaeroID, KeyringError> {
        if let Some(other) = self.by_id.get(&entry.id).filter(|other| other.name != entry.name) {
            return Err(KeyringError::AlreadyHere(other.name.clone()));
        }
        let (id, entry) = (entry.id, Arc::new(entry));
        self.by_id.insert(id, Arc::clone(&entry));
        self.by_name.insert(entry.name.clone(), entry);
        Ok(id)
    }
}

impl Entry {
    fn new(name: &str, public: PublicKey) -> Self {
        Self { name: name.to_owned(), id: public.id(), public, signer: Mutex::new(None) }
    }

    /// The entry of a key file, from its public part.
    fn read(dir: &Path, name: &str) -> Result<Self, KeyringError> {
        let path = file::path_of(dir, name);
        let bytes = file::read_private(&path)?;
        let public = key_file::public_part(&bytes).map_err(|source| KeyringError::BadFile { path, source })?;
        Ok(Self::new(name, public))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
