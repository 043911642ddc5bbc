//! Counters: the one table of everything that a node counts as dropped, refused, forgotten or failed.
//!
//! A value that rises and falls is a gauge ([`metrics`](crate::metrics)); that module reports counters and gauges
//! together.
//!
//! A counter is a variant of [`Counter`], so that nothing can be counted under a name that is not in the table. Its
//! entry gives its help text, its unit, and its name, which is the same in `status`, in the event log and wherever else
//! it is shown. A counter begins at zero when the node starts and only grows.
//!
//! To add a counter, add its line to the table below, in alphabetical order, and count with it.
//!
//! Invariants
//! 1. A counter's name is its variant in snake case.
//! - A counter's name begins with what is counted.
//! - What is counted by reason rather than by counter, such as refusals at admission, is in the event log alone
//!   ([`Event::Refused`](crate::event_log::event::Event::Refused)).

use core::fmt;

/// What one step of a counter, or of a gauge, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are what they mean")]
pub enum Unit {
    Addresses,
    Advertisements,
    Answers,
    Blobs,
    Bytes,
    Calls,
    Chunks,
    Connections,
    Contacts,
    Credentials,
    Documents,
    Frames,
    Groups,
    Identities,
    Links,
    Messages,
    Outcomes,
    Receipts,
    Records,
    Requests,
    Routers,
    Seconds,
    Sessions,
    Streams,
}

impl fmt::Display for Unit {
    /// Writes the unit in lower case and the plural.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

macro_rules! counters {
    ($(#[doc = $help:literal] $counter:ident: $unit:ident = $name:literal,)*) => {
        /// What a node counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter {
            $(#[doc = $help] $counter,)*
        }

        impl Counter {
            /// All counters, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$counter,)*];

            /// The counter's name, wherever it is shown.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$counter => $name,)*
                }
            }

            /// What one step of the counter stands for.
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$counter => Unit::$unit,)*
                }
            }

            /// What the counter counts, in a sentence.
            pub fn help(self) -> &'static str {
                match self {
                    $(Self::$counter => $help.trim_ascii_start(),)*
                }
            }
        }
    };
}

counters! {
    /// Addresses told by others that are not dialled: malformed, or beyond the bound.
    AddressesRefused: Addresses = "addresses_refused",
    /// Connections of members that were told to come in later, here or at the other end, since too many came in at once.
    AdmissionsPutOff: Connections = "admissions_put_off",
    /// Connections that were admitted and then taken over by no link.
    AdmissionsUnclaimed: Connections = "admissions_unclaimed",
    /// Frames of class alarm held until their bearer may carry them, beyond the bound.
    AirDroppedAlarm: Frames = "air_dropped_alarm",
    /// Frames of class bulk held until their bearer may carry them, beyond the bound.
    AirDroppedBulk: Frames = "air_dropped_bulk",
    /// Frames of class control held until their bearer may carry them, beyond the bound; acknowledgements are among them.
    AirDroppedControl: Frames = "air_dropped_control",
    /// Frames of the mesh itself held until their bearer may carry them, beyond the bound.
    AirDroppedMesh: Frames = "air_dropped_mesh",
    /// Frames of class telemetry held until their bearer may carry them, beyond the bound.
    AirDroppedTelemetry: Frames = "air_dropped_telemetry",
    /// Answers to named requests to groups that were handed over and not kept, since there were too many.
    AnswersNotKept: Answers = "answers_not_kept",
    /// Messages and requests to services that were refused because as many as may look for a device already.
    AnycastsRefused: Messages = "anycasts_refused",
    /// Messages of streams or batches beyond what a contact may have open here.
    BatchesRefused: Messages = "batches_refused",
    /// Times at which neighbours told the time and most did not agree, or told another than was learnt before.
    BeaconsDisagreed: Answers = "beacons_disagreed",
    /// Times told by neighbours that are not in answer to what they were asked, not signed, or cannot be.
    BeaconsRefused: Answers = "beacons_refused",
    /// Times told by neighbours that were not asked, or not any more.
    BeaconsUnasked: Answers = "beacons_unasked",
    /// Chunks of blobs that this device asked for a second time, since they had not come.
    BlobChunksAskedAgain: Chunks = "blob_chunks_asked_again",
    /// Chunks from contacts that are not of the blob that they were said to be of.
    BlobChunksForged: Chunks = "blob_chunks_forged",
    /// Chunks that this device sent a second time to who had asked for them again.
    BlobChunksServedAgain: Chunks = "blob_chunks_served_again",
    /// Chunks that came unasked, or were there already.
    BlobChunksUnwanted: Chunks = "blob_chunks_unwanted",
    /// Blobs offered by contacts that were not taken: too many, too large, too late, or not what they were said to be.
    BlobOffersRefused: Blobs = "blob_offers_refused",
    /// Chunks that contacts asked for and may not have, or for which as many as may wait already.
    BlobWantsDropped: Chunks = "blob_wants_dropped",
    /// Blobs that could not be written, or are not what they were on the disk.
    BlobsDamaged: Blobs = "blobs_damaged",
    /// Cached blobs that had to go for others.
    BlobsEvicted: Blobs = "blobs_evicted",
    /// Broadcasts of devices without the role, or handed on by neighbours for them.
    BroadcastsForbidden: Frames = "broadcasts_forbidden",
    /// Broadcasts beyond the rate of their senders, or of senders who are no contacts.
    BroadcastsRefused: Messages = "broadcasts_refused",
    /// Bulletins from neighbours that do not verify.
    BulletinsRefused: Documents = "bulletins_refused",
    /// Calls of services that were refused because as many as may are open.
    CallsRefusedBusy: Calls = "calls_refused_busy",
    /// Calls of services that the program behind the service did not answer in time.
    CallsUnanswered: Calls = "calls_unanswered",
    /// Calls for which no service was on offer.
    CallsWithoutService: Calls = "calls_without_service",
    /// Confirmations of publications that are not waited for, or not any more.
    ConfirmationsUnasked: Messages = "confirmations_unasked",
    /// Connections that broke beside another of the same link: what was under way on them may be lost.
    ConnectionsBroken: Connections = "connections_broken",
    /// Connections that a lab's orders kept from coming about.
    ConnectionsCut: Connections = "connections_cut",
    /// Control frames whose body is not what its kind says.
    ControlMalformed: Frames = "control_malformed",
    /// Second copies that a policy asked for and no other way was there to carry.
    CopiesWithoutWay: Messages = "copies_without_way",
    /// Requests for credentials beyond what a neighbour may make.
    CredentialRequestsTooOften: Requests = "credential_requests_too_often",
    /// Credentials of publishers that gave way to newer ones.
    CredentialsForgotten: Credentials = "credentials_forgotten",
    /// Credentials handed over by neighbours that do not verify.
    CredentialsRefused: Credentials = "credentials_refused",
    /// Credentials handed over by neighbours that this node does not wait for.
    CredentialsUnasked: Credentials = "credentials_unasked",
    /// Mailboxes of which it was forgotten that they keep nothing for a receiver, since these were too many; they are asked again.
    CustodiansForgotten: Routers = "custodians_forgotten",
    /// Statements of custody that nothing waits for, or whose signature or maker is not accepted.
    CustodyRefused: Frames = "custody_refused",
    /// Data frames whose time was over when they came, or when the link that they waited for took more.
    DataExpired: Frames = "data_expired",
    /// Data frames for other devices that came to a leaf, which forwards nothing.
    DataForOthers: Frames = "data_for_others",
    /// Data frames that came to a relay which they had passed before.
    DataLooped: Frames = "data_looped",
    /// Data frames, or what was sealed in them, that are not well formed.
    DataMalformed: Frames = "data_malformed",
    /// Session records that do not open under the key of their session.
    DataNotOpened: Frames = "data_not_opened",
    /// Data frames of a segment that this device, its neighbour or their sender neither is in nor reaches.
    DataOfOtherSegments: Frames = "data_of_other_segments",
    /// Data frames that have used up their hops.
    DataOutOfHops: Frames = "data_out_of_hops",
    /// Data frames sent another way by a relay, since the next hop of their path was gone.
    DataRepaired: Frames = "data_repaired",
    /// Session records whose counter was seen before, or is too old to tell.
    DataReplayed: Frames = "data_replayed",
    /// Data frames for which a relay knows no way.
    DataWithoutWay: Frames = "data_without_way",
    /// Streams of senders of which the oldest gave way, with what was known of their duplicates.
    DedupeStreamsForgotten: Streams = "dedupe_streams_forgotten",
    /// Requests for bulletins and pieces of documents beyond what a neighbour may make.
    DocumentRequestsTooOften: Requests = "document_requests_too_often",
    /// Documents that came as what the bulletin names, and are not.
    DocumentsRefused: Documents = "documents_refused",
    /// Answers to enrolment requests that the issuer has not signed for the request.
    EnrolmentAnswersForged: Answers = "enrolment_answers_forged",
    /// Requests to an issuer that were dropped at a bound, here or on their way through.
    EnrolmentsDroppedBusy: Requests = "enrolments_dropped_busy",
    /// Requests to issuers that the bulletin does not list.
    EnrolmentsUnlisted: Requests = "enrolments_unlisted",
    /// Messages of class alarm of this device that ended without being delivered.
    FailedAlarm: Messages = "failed_alarm",
    /// Messages of class bulk of this device that ended without being delivered.
    FailedBulk: Messages = "failed_bulk",
    /// Messages of class control of this device that ended without being delivered.
    FailedControl: Messages = "failed_control",
    /// Messages of class telemetry of this device that ended without being delivered.
    FailedTelemetry: Messages = "failed_telemetry",
    /// Frames on their way that were no longer watched, since too many are: they tell nothing of their path.
    FlightsForgotten: Frames = "flights_forgotten",
    /// Sessions passing through whose way back was forgotten for newer ones.
    FlowsForgotten: Sessions = "flows_forgotten",
    /// Fragments of frames that do not fit together.
    FragmentsDropped: Frames = "fragments_dropped",
    /// Frames that could not have been sent whole before their bearer's access window closed, and are of no use later.
    FramesBeforeClosing: Frames = "frames_before_closing",
    /// Group frames and link-state advertisements not looked at, since their link is closed for what was forged among them.
    FramesDistrusted: Frames = "frames_distrusted",
    /// Frames of a kind that this version does not know.
    FramesOfUnknownKind: Frames = "frames_of_unknown_kind",
    /// Frames of the control stream beyond what a neighbour may send.
    FramesTooOften: Frames = "frames_too_often",
    /// Frames with a required flag that this version does not know.
    FramesWithUnknownFlags: Frames = "frames_with_unknown_flags",
    /// Sequences of group frames of which it is not known any more which have been here.
    GroupFlowsForgotten: Streams = "group_flows_forgotten",
    /// Group frames that had been here before.
    GroupFramesDuplicate: Frames = "group_frames_duplicate",
    /// Group frames whose time was over when they came.
    GroupFramesExpired: Frames = "group_frames_expired",
    /// Group frames of a restricted group without a permit that holds.
    GroupFramesForbidden: Frames = "group_frames_forbidden",
    /// Group frames whose signature does not verify.
    GroupFramesForged: Frames = "group_frames_forged",
    /// Group frames sent no later than what subscribers may have heard of their publisher, in streams of which nothing else is known.
    GroupFramesHeardBefore: Frames = "group_frames_heard_before",
    /// Group frames, or what was sealed in them, that are not well formed.
    GroupFramesMalformed: Frames = "group_frames_malformed",
    /// Group frames that do not open under the key of their group.
    GroupFramesNotOpened: Frames = "group_frames_not_opened",
    /// Group frames of a segment that this device or their sender neither is in nor reaches.
    GroupFramesOfOtherSegments: Frames = "group_frames_of_other_segments",
    /// Group frames of a stream after which its publisher has begun another that was heard.
    GroupFramesOutOfTurn: Frames = "group_frames_out_of_turn",
    /// Group frames of this device that came back to it.
    GroupFramesOwn: Frames = "group_frames_own",
    /// Group frames not pushed to a neighbour that takes nothing; it fetches them later.
    GroupFramesPutOff: Frames = "group_frames_put_off",
    /// Group frames given again to neighbours that asked for them.
    GroupFramesRepaired: Frames = "group_frames_repaired",
    /// Group frames that are not kept until their deadline, since others need the room.
    GroupFramesUnkept: Frames = "group_frames_unkept",
    /// Group frames of publishers whose credential is not known here.
    GroupFramesWithoutCredential: Frames = "group_frames_without_credential",
    /// Group frames that found no link to some neighbour of their tree, which is told of them when there is one.
    GroupFramesWithoutWay: Frames = "group_frames_without_way",
    /// Publishers of whom it is no longer known up to where they were heard, since too many are.
    GroupPublishersForgotten: Credentials = "group_publishers_forgotten",
    /// Group frames that were missing and are not asked for, since too many are.
    GroupRepairsDropped: Frames = "group_repairs_dropped",
    /// Group frames that were missing and that nobody who told of them gave.
    GroupRepairsFailed: Frames = "group_repairs_failed",
    /// Requests for group frames beyond the share of a link.
    GroupRequestsTooOften: Requests = "group_requests_too_often",
    /// Streams of publishers that gave way to newer ones.
    GroupStreamsForgotten: Streams = "group_streams_forgotten",
    /// Streams of publishers that went on, and of which it was not known any more where: they were begun as new, since there were too many.
    GroupStreamsNotResumed: Streams = "group_streams_not_resumed",
    /// Streams of publishers of which a part may have gone unheard: the end, the beginning, or all of one before.
    GroupStreamsUnended: Streams = "group_streams_unended",
    /// Topics of publishers of which it is not known any more which message was heard last.
    GroupTopicsForgotten: Streams = "group_topics_forgotten",
    /// Acknowledgements of frames that did not go to the neighbour that sends them, or were acknowledged before.
    HopAcksRefused: Frames = "hop_acks_refused",
    /// Messages not taken because the inbox is full.
    InboxFull: Messages = "inbox_full",
    /// Line frames whose check sequence does not fit: the line has changed them, or what came is no frame.
    LineFramesCorrupt: Frames = "line_frames_corrupt",
    /// Line frames that were sent once more, since they did not arrive.
    LineFramesResent: Frames = "line_frames_resent",
    /// Sound line frames of no session here, or of none any more: echoes, and what was on its way when a session ended.
    LineFramesStray: Frames = "line_frames_stray",
    /// Octets on serial lines that belong to no frame.
    LineNoise: Bytes = "line_noise",
    /// Measurements of former links that gave way to newer ones.
    LinksForgotten: Links = "links_forgotten",
    /// Connections refused because as many links as may are up, here or at the other end.
    LinksOverLimit: Connections = "links_over_limit",
    /// Links closed because their neighbour took nothing of what waits for it.
    LinksStalled: Links = "links_stalled",
    /// Questions for a device's place that were dropped at a bound.
    LocateDropped: Frames = "locate_dropped",
    /// Answers to where a device is that gave way to newer ones.
    LocateForgotten: Answers = "locate_forgotten",
    /// Questions for a device's place by whoever shares no segment with this one.
    LocateOfOtherSegments: Frames = "locate_of_other_segments",
    /// Questions for a device's place, asked or caused by one neighbour, beyond its rate.
    LocateTooOften: Frames = "locate_too_often",
    /// Comparisons of link state that a neighbour asked for beyond its rate.
    LsaDigestsTooOften: Requests = "lsa_digests_too_often",
    /// Link-state advertisements of routers beyond those that an area may have.
    LsasBeyondArea: Advertisements = "lsas_beyond_area",
    /// Link-state advertisements that came after their time.
    LsasExpired: Advertisements = "lsas_expired",
    /// Link-state advertisements whose signature does not verify.
    LsasForged: Advertisements = "lsas_forged",
    /// Link-state advertisements named by neighbours and not asked for, since too many are.
    LsasNotAsked: Advertisements = "lsas_not_asked",
    /// Link-state advertisements that no neighbour gave when asked.
    LsasNotGiven: Advertisements = "lsas_not_given",
    /// Link-state advertisements that came too often and found no room to wait for their router's turn.
    LsasNotHeld: Advertisements = "lsas_not_held",
    /// Link-state advertisements of routers of another area.
    LsasOfOtherAreas: Advertisements = "lsas_of_other_areas",
    /// Link-state advertisements that are older than what is known, from neighbours that lag.
    LsasOutdated: Advertisements = "lsas_outdated",
    /// Link-state advertisements of routers under a handle that another router has.
    LsasSecondOfHandle: Advertisements = "lsas_second_of_handle",
    /// Link-state advertisements beyond what one router may tell at once: the latest is taken when it is its turn.
    LsasTooOften: Advertisements = "lsas_too_often",
    /// Link-state advertisements that a neighbour asked for beyond its rate, and was not given.
    LsasWithheld: Advertisements = "lsas_withheld",
    /// Link-state advertisements of routers whose credential is not known here.
    LsasWithoutCredential: Advertisements = "lsas_without_credential",
    /// Mail for others that gave way to more urgent mail in a full box; who handed it in is told.
    MailDisplaced: Frames = "mail_displaced",
    /// Mail for others that was let go of, since its time was over or its receiver was revoked.
    MailExpired: Frames = "mail_expired",
    /// Mail for others that the next custodian or the receiver has, and that is kept here no more.
    MailHandedOn: Frames = "mail_handed_on",
    /// Mail for others that was made durable here.
    MailKept: Frames = "mail_kept",
    /// Mail for others that was not kept, since the disk fails.
    MailNotKept: Frames = "mail_not_kept",
    /// Mail that its receiver cannot open.
    MailNotOpened: Frames = "mail_not_opened",
    /// Mail of this device that a custodian does not keep, or keeps no more.
    MailNotTaken: Frames = "mail_not_taken",
    /// Mail for this device of devices without a card: cards are asked for.
    MailOfStrangers: Frames = "mail_of_strangers",
    /// Mail for this device that was opened.
    MailOpened: Frames = "mail_opened",
    /// Mail for others that was refused, since the quota of its box is used up.
    MailOverQuota: Frames = "mail_over_quota",
    /// Prekeys for mail that this device has told its issuer.
    MailPrekeysTold: Requests = "mail_prekeys_told",
    /// Mail that this device has sent.
    MailSent: Frames = "mail_sent",
    /// Mail of this device that a custodian keeps.
    MailTaken: Frames = "mail_taken",
    /// Messages numbered too far ahead or behind to tell whether they are duplicates.
    MessagesBeyondWindow: Messages = "messages_beyond_window",
    /// Messages that came again.
    MessagesDuplicate: Messages = "messages_duplicate",
    /// Messages that came after their deadline.
    MessagesLate: Messages = "messages_late",
    /// Messages and publications of this device that gave way to newer ones while they waited, as was asked for.
    MessagesSuperseded: Messages = "messages_superseded",
    /// Messages of this device to names without a card, of which too many wait.
    MessagesToStrangersRefused: Messages = "messages_to_strangers_refused",
    /// Answers about sessions that do not open: forged, of strangers, or about no session of this device.
    NacksRefused: Frames = "nacks_refused",
    /// Answers about sessions that were not given, since a link brought more than its share of what calls for them.
    NacksWithheld: Frames = "nacks_withheld",
    /// Credentials that link state names and nobody here knows, not asked for: so many others are remembered as asked for.
    NamesNotAsked: Credentials = "names_not_asked",
    /// Neighbours that went to rest as they had said, and are not dialled before they wake.
    NeighboursAtRest: Identities = "neighbours_at_rest",
    /// Neighbours put in quarantine, since their links were closed for what they sent and it was not the first time.
    NeighboursQuarantined: Identities = "neighbours_quarantined",
    /// Links whose other end began anew while the link stood.
    NeighboursRestarted: Links = "neighbours_restarted",
    /// Neighbours whose links were closed for what they sent, and of whom this is no longer known.
    OffendersForgotten: Identities = "offenders_forgotten",
    /// Answers to questions for services that this device has not asked, or not any more.
    OffersUnasked: Messages = "offers_unasked",
    /// Openings of sessions that had been here before, whose sessions are gone.
    OpenersReplayed: Frames = "openers_replayed",
    /// Openings of sessions beyond what a neighbour may bring, or what it may bring under one credential.
    OpenersTooOften: Frames = "openers_too_often",
    /// Outcomes kept for applications that ask again, which gave way to newer ones.
    OutcomesForgotten: Outcomes = "outcomes_forgotten",
    /// Messages of this device that could not be read back from disk.
    OutgoingDamaged: Messages = "outgoing_damaged",
    /// Publications that had to wait for a disk that writes nothing, and found no room to.
    PublicationsDropped: Messages = "publications_dropped",
    /// Requests for contact cards that the issuer did not answer.
    PullsFailed: Requests = "pulls_failed",
    /// Frames of contacts that a device which only pushes has turned down: it takes nothing.
    PushOnlyTurnedDown: Frames = "push_only_turned_down",
    /// Receipts for which there is no way back.
    ReceiptsWithoutWay: Receipts = "receipts_without_way",
    /// New credentials of neighbours that do not verify.
    RefreshesRefused: Credentials = "refreshes_refused",
    /// Messages of class alarm of this device that were not taken, since no more may wait.
    RefusedFullAlarm: Messages = "refused_full_alarm",
    /// Messages of class bulk of this device that were not taken, since no more may wait.
    RefusedFullBulk: Messages = "refused_full_bulk",
    /// Messages of class control of this device that were not taken, since no more may wait.
    RefusedFullControl: Messages = "refused_full_control",
    /// Messages of class telemetry of this device that were not taken, since no more may wait.
    RefusedFullTelemetry: Messages = "refused_full_telemetry",
    /// Responses to named requests that were kept no more, since there were too many.
    ResponsesForgotten: Requests = "responses_forgotten",
    /// Responses to requests that nobody waits for any more.
    ResponsesUnasked: Messages = "responses_unasked",
    /// Sessions under which nothing opened that came, so that the other end was told.
    SessionsDisagreed: Sessions = "sessions_disagreed",
    /// Sessions that gave way to newer ones.
    SessionsForgotten: Sessions = "sessions_forgotten",
    /// Sessions opened by devices that are no contacts.
    SessionsOfStrangers: Sessions = "sessions_of_strangers",
    /// Openings of sessions that do not verify.
    SessionsRefused: Sessions = "sessions_refused",
    /// Session records of sessions that are not known here.
    SessionsUnknown: Frames = "sessions_unknown",
    /// Devices that name this one as their parent, which is no mailbox or has too many already.
    SleepersRefused: Identities = "sleepers_refused",
    /// Frames of class bulk that were to wait for a link, and found as many there as may.
    StalledBulkDropped: Frames = "stalled_bulk_dropped",
    /// Frames of class telemetry that were to wait for a link, and found as many there as may.
    StalledTelemetryDropped: Frames = "stalled_telemetry_dropped",
    /// Successors that neighbours named and that are not believed: the proof or the credential does not hold, or the link has had one.
    SuccessorsRefused: Frames = "successors_refused",
    /// Requests for the time beyond what a link may ask at once.
    TimeRequestsDropped: Requests = "time_requests_dropped",
    /// Groups for which no tree is made, since they are too many or too large.
    TreesRefused: Groups = "trees_refused",
}

impl Counter {
    /// The counter with a name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|counter| counter.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snake(variant: &str) -> String {
        let mut name = String::new();
        for letter in variant.chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Invariant 1.
    #[test]
    fn every_counter_has_one_spelling_a_unit_and_a_sentence() {
        assert!(Counter::ALL.is_sorted_by(|one, next| one.name() < next.name()), "in the order of the alphabet");
        for counter in Counter::ALL {
            assert_eq!(counter.name(), snake(&format!("{counter:?}")));
            assert_eq!(Counter::named(counter.name()), Some(*counter));
            assert!(counter.help().len() > 20 && counter.help().ends_with('.'), "{counter:?}");
            assert!(counter.unit().to_string().ends_with('s'), "{counter:?}");
        }
        assert_eq!(Counter::named("nonsense"), None);
    }
}
