//! `create`, `grant`, `revoke`, `members`: owned subjects.

use crate::support::Machine;

#[test]
fn roles_are_granted_and_taken_and_without_one_nothing_is_published() {
    let machine = Machine::new();
    let bob = machine.ok("id --new bob", "")[0]["id"].as_str().unwrap().to_owned();
    let created = machine.ok("create board --owned", "");
    assert_eq!((created.len(), &created[0]["subject"]), (1, &"board".into()));

    let refused = machine.run("publish board --as bob".split(' '), "a\n");
    assert_eq!((refused.code, refused.stdout.as_str()), (10, ""));
    assert!(refused.stderr.contains("nobody has granted it a role"), "{}", refused.stderr);

    assert_eq!(machine.ok("grant board bob --role writer", "")[0]["seq"], 2);
    assert_eq!(machine.ok("publish board --as bob", "a\n")[0]["seq"], 2);
    assert_eq!(machine.ok(&format!("revoke board {bob}"), "")[0]["seq"], 3);
    let refused = machine.run("publish board --as bob".split(' '), "b\n");
    assert_eq!(refused.code, 10);
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);

    let members = machine.ok("members board", "");
    let member = members.iter().find(|member| member["id"] == bob).unwrap();
    assert_eq!(
        (&member["role"], &member["revoked"], &member["last_valid"]),
        (&"writer".into(), &true.into(), &2.into())
    );
    let creator = members.iter().find(|member| member["granted_by"].is_null()).unwrap();
    assert_eq!((members.len(), &creator["role"]), (2, &"owner".into()));
    assert_eq!(machine.state("board", "or-set"), serde_json::json!(["a"]));
    machine.ok("verify", "");
}

#[test]
fn what_makes_no_sense_about_roles_is_told_apart() {
    let machine = Machine::new();
    machine.ok("id --new bob", "");
    machine.ok("create board --owned --as bob", "");
    let code = |args: &str| machine.run(args.split(' '), "").code;
    assert_eq!(code("create board --owned"), 2, "the name is taken");
    assert_eq!(code("create other"), 2, "only owned subjects are created");
    assert_eq!(code("members open"), 2, "an open subject has no members");
    assert_eq!(code("grant board bob --role writer --as bob"), 10, "the creator's role is nobody's to give");
    assert_eq!(code("grant board bob --role reader"), 10, "the node's own identity is no owner");
    assert_eq!(code("grant board eve --role reader --as bob"), 5, "nobody here is called that");
    assert_eq!(code("revoke board bob --as eve"), 5);
}
