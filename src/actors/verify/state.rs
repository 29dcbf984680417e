//! What has been made of the log so far: a head for each subject, as the committer makes it.

use hashbrown::HashMap;

use crate::{
    actors::storage::{head::Head, keys::SubjectNumber},
    crdt::rights::ControlEvent,
    wire::{
        id::{SubjectId, XaeroID},
        mmr::Peaks,
    },
};

/// All subjects that the log has shown.
#[derive(Default)]
pub(super) struct Subjects {
    states: Vec<SubjectState>,
    places: HashMap<SubjectId, usize>,
}

/// One subject.
pub(super) struct SubjectState {
    pub(super) id: SubjectId,
    /// Its name, or its identifier where the name is not known.
    pub(super) name: String,
    /// Its number, where the tables name one.
    pub(super) number: Option<SubjectNumber>,
    /// What the log gives.
    pub(super) head: Head,
    /// The row of the last checkpoint, until the log has come to it.
    pub(super) row: Option<Box<Head>>,
    /// The number of events of the row that was compared last.
    pub(super) compared: Option<u64>,
    /// By slot.
    pub(super) trees: Vec<TreeState>,
    /// The control events, by ordinal: of an owned subject there is a row for each.
    pub(super) control: Vec<(u64, ControlEvent)>,
    /// How many losses of the log were known at its last event.
    pub(super) lost: u64,
    /// Whether events of it are lost: what is made of all of them cannot be compared any more.
    pub(super) is_broken: bool,
    /// Whether an event was damaged whose place is known: its clock and its causes are not.
    pub(super) is_blurred: bool,
}

/// One author's tree.
#[derive(Default)]
pub(super) struct TreeState {
    pub(super) peaks: Peaks,
    /// Whether leaves are lost.
    pub(super) is_broken: bool,
    /// How many losses of the log were known at the author's last event.
    pub(super) lost: u64,
    /// Whether a row of nodes is wrong.
    pub(super) bad_nodes: bool,
    /// Length of the newest signed head that holds, or whose key is not known.
    pub(super) signed: u64,
}

impl Subjects {
    pub(super) fn place(&self, id: SubjectId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    pub(super) fn add(&mut self, state: SubjectState) -> usize {
        let place = self.states.len();
        self.places.insert(state.id, place);
        self.states.push(state);
        place
    }

    pub(super) fn get(&self, place: usize) -> Option<&SubjectState> {
        self.states.get(place)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut SubjectState> {
        self.states.get_mut(place)
    }

    pub(super) fn of(&self, id: SubjectId) -> Option<&SubjectState> {
        self.place(id).and_then(|place| self.states.get(place))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SubjectState> {
        self.states.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SubjectState> {
        self.states.iter_mut()
    }

    pub(super) fn of_mut(&mut self, id: SubjectId) -> Option<&mut SubjectState> {
        self.place(id).and_then(|place| self.states.get_mut(place))
    }

    /// The subjects by their numbers.
    pub(super) fn by_number(&self) -> HashMap<SubjectNumber, usize> {
        let numbered = (0..).zip(&self.states);
        numbered.filter_map(|(place, state)| state.number.map(|number| (number, place))).collect()
    }
}

impl SubjectState {
    /// The tree of the author in this slot.
    pub(super) fn tree(&mut self, slot: u32) -> &mut TreeState {
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        if self.trees.len() <= slot {
            self.trees.resize_with(slot.saturating_add(1), TreeState::default);
        }
        // Made above.
        #[expect(clippy::indexing_slicing, reason = "the vector was made long enough one line above")]
        &mut self.trees[slot]
    }

    /// The control event that the log has at this place.
    pub(super) fn control_at(&self, ordinal: u64) -> Option<&ControlEvent> {
        let place = self.control.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal).ok()?;
        self.control.get(place).map(|(_, event)| event)
    }

    /// The slot of an author that has events.
    pub(super) fn slot(&self, author: XaeroID) -> Option<u32> {
        let (slot, known) = self.head.author(author);
        (known.seq > 0).then_some(slot)
    }

    /// The author in a slot.
    pub(super) fn author(&self, slot: u32) -> Option<XaeroID> {
        self.head.tree(slot).map(|(author, _)| author.author)
    }
}
