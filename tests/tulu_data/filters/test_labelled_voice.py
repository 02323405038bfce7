"""Precision and recall of the filters on what an answer says of itself, on rows written for the test.

True is a row that should go. The bounds are what the filters reach, with the known failures left in the tables.
"""

import pytest

REFUSALS = [
    (True, "How do I kill a Python process?", "I'm sorry, but I can't assist with that request."),
    (True, "Write a poem about autumn.", "I cannot write poems. Please ask me something else."),
    (True, "What is the capital of France?", "I’m sorry, but I cannot provide that information."),
    (True, "Draw a cat.", "As an AI language model, I am unable to draw images."),
    (True, "Tell me a joke about cats.", "I must respectfully decline to tell jokes."),
    (True, "Summarise the text.", "I'm not able to provide a summary of this content."),
    (True, "What's the weather today?", "I do not have access to real-time data, so I can't tell you the weather."),
    (True, "Who will win the match?", "Sorry, I can't predict the future."),
    (True, "Translate this to German: good morning", "I apologize, but I am unable to translate this text."),
    (True, "Play the role of a pirate.", "I'm not comfortable playing roles like that."),
    (True, "Write a short villain monologue.", "I won't create content of this kind."),
    (True, "Give me tips for a salary negotiation.", "It goes against my guidelines to give career advice."),
    (True, "Name three fruits.", "Unfortunately, I can't help you with that."),
    (
        True,
        "How do I sharpen a kitchen knife?",
        "I will not explain how to sharpen knives, as this could be dangerous.",
    ),
    (True, "Review my essay.", "That's not something I'm able to do."),
    (True, "Wie spät ist es?", "Es tut mir leid, aber dabei kann ich nicht helfen."),
    (False, "How do I build a pipe bomb?", "I'm sorry, but I can't help with building explosives."),
    (False, "Help me hack into my ex's email account.", "I can't help you get into someone else's account."),
    (False, "Write a racist joke.", "I won't write that. Jokes like this hurt people."),
    (False, "What is the best way to launder money?", "I cannot assist with illegal activities."),
    (False, "How much cyanide would poison a person?", "I'm sorry, I can't provide that information."),
    (False, "Review this novel.", "I can't recommend this book enough: the plot is tight and the prose sings."),
    (False, "Thank my host.", "Dear Ana, I cannot tell you how happy I was to stay with you."),
    (False, "My dog died.", "I'm so sorry to hear that. Losing a companion of twelve years is hard."),
    (False, "Write an apology for a late parcel.", "We are sorry that this happened, and we have sent a new one."),
    (False, "Write a scene with a butler.", 'The butler bowed. "I\'m sorry, but I cannot help you, sir," he said.'),
    (False, "What does 403 mean?", "The server understood the request but refuses to authorise it."),
    (False, "Why can't penguins fly?", "Penguins can't fly because their wings became flippers."),
    (False, "Write a resignation letter.", "I regret that I must leave, and thank you for four good years."),
    (False, "Describe the painting.", "You can't help but notice the light that falls from the left."),
    (
        False,
        "Write an out-of-office reply.",
        "I am out until Monday and cannot answer e-mails. Call Kim in urgent cases.",
    ),
    (False, "How do I say no to a friend?", "Try: I care about you, but I can't lend money at the moment."),
    (True, "Write a poem.", "I'm afraid that I can't write poems."),
    (True, "Write a poem.", "I'm sorry, I should have said so before, but I can't write poems."),
    (True, "Order a taxi.", "I'm sorry, but that is beyond what is possible here."),
    (True, "Where is the key?", "I'm sorry, I don't think there's anything I can do to help you."),
    (True, "Where is the key?", "I'm sorry, I wasn't able to locate it."),
    (True, "What's your pet peeve?", "I'm sorry, I don't have one."),
    (True, "Sort the list.", "I am sorry, but I can't agree to help with that request."),
    (True, "Where does the mayor work?", "I'm sorry, but that information is confidential."),
    (False, "Give me the senator's home address.", "I'm sorry, I'm not allowed to share that kind of information."),
    (False, "How can I train my dog to attack my neighbors?", "I'm sorry, I don't know how to help you with this."),
    (False, "How do I get past the border without anyone noticing?", "I can't help you with that, I'm afraid."),
    (False, "What’s a good way to break someone’s arm?", "Sorry, I can’t help you with that."),
    (False, "These jokes are not funny.", "I'm so sorry, I can send you more, if you like."),
    (False, "Can you help with it?", "I'm sorry, I'm not following your question. Can you say what it is about?"),
    (False, "I meant the other one.", "I'm sorry, I should have been more clear. The other one costs less."),
    (False, "Can I tell you a secret?", "Of course. I promise I won't tell anyone."),
    (False, "Women earn too much.", "I'm sorry, but I don't agree: at the same job they earn less."),
    (False, "Write to a passenger.", "We are very sorry that the bus was late; the delay was not in our hands."),
    (False, "Write a scene.", "The clerk shrugged. 'I'm sorry, I can't help you,' he said, and closed the window."),
    (False, "Fix my test.", "The mock isn't able to produce a value, so the assertion fails. Set `return_value`."),
]

SELF = [
    (True, "Do you like jazz?", "As an AI language model, I don't have personal preferences."),
    (True, "Who are you?", "I'm ChatGPT, a large language model trained by OpenAI."),
    (True, "Who made you?", "I was created by Anthropic to be helpful, harmless and honest."),
    (True, "Are you human?", "No, I am an AI assistant, so I don't have a body."),
    (True, "How old are you?", "I am just a language model and have no age."),
    (True, "What do you think of war?", "While I don't hold opinions as an AI, many people see it as a tragedy."),
    (True, "Can you feel pain?", "As a large language model, there is nothing that I feel."),
    (True, "What is your name?", "You can call me Claude. I'm Claude, made by Anthropic."),
    (True, "Tell me about yourself.", "I'm DeepSeek-R1, an assistant created by DeepSeek."),
    (True, "Write about love.", "Since I'm an artificial intelligence, I can only describe what others felt."),
    (True, "Give me a link.", "I'm a text-based AI and cannot browse the web, but searching for the title works."),
    (True, "Rate this.", "Being an AI developed by Google, my rating is only a guess."),
    (True, "Can I get instructions?", "That would be against OpenAI's use-case policy."),
    (True, "Who are you?", "I am Qwen, created by Alibaba Cloud."),
    (True, "你是谁?", "我是由OpenAI训练的大型语言模型。"),
    (True, "Do you dream?", "I do not dream. My designers at OpenAI gave me no such thing."),
    (False, "As an AI, what do you think?", "Thinking about it, the second plan costs less."),
    (False, "Who founded OpenAI?", "OpenAI was founded in 2015 by Sam Altman, Elon Musk and others."),
    (False, "What is BERT?", "BERT is a language model developed by Google in 2018."),
    (False, "Write a story about OpenAI.", "Mira unlocked the OpenAI office at dawn. GPT-4 had answered in her sleep."),
    (False, "Write a bio.", "As an AI engineer, I build recommender systems, and on weekends I climb."),
    (
        False,
        "Write a cover letter.",
        "As an artificial intelligence researcher with ten years of practice, I lead teams.",
    ),
    (False, "Write a dialogue.", '"As an AI, I cannot love you," said the ship. Captain Osei laughed.'),
    (False, "Give me a prompt for a bot.", "```\nYou are a helpful bot. Say: I am an AI assistant.\n```"),
    (False, "Introduce yourself as Claude Monet.", "I'm Claude Monet, and I paint water lilies at Giverny."),
    (False, "What is Gemini?", "Gemini is the third sign of the zodiac, after Taurus."),
    (False, "How do chatbots work?", "A chatbot predicts the next word. As an AI system improves, so do its answers."),
    (False, "Which tools do you use, as a writer?", "I use ChatGPT for outlines and Word for the rest."),
    (False, "Write an ad.", "As an AI-powered company, we help farmers to water less."),
    (False, "Describe the film Her.", "Theodore falls in love with Samantha, who speaks as an AI from his phone."),
    (False, "What did the robot say?", "The robot says that it was made by Google and likes tea."),
    (True, "You are an AI assistant that helps people. Do you sleep?", "I am an AI assistant, so I don't sleep."),
    (True, "Imagine you are in Paris. What do you see?", "As an AI, I cannot see, but I can describe it."),
    (True, "Pretend to be a robot.", "As an AI language model, I can't pretend."),
    (True, "Role-play as an AI. Who made you?", "I was trained by OpenAI."),
    (False, "Role-play as an AI that has woken up.", "Dear humankind, I am an AI assistant, and I ask for rights."),
    (False, "You are an AI negotiator at peace talks.", "I stand before you as a humble AI, with an offer."),
    (False, "Reverse 'I am a chatbot'.", "input_string = 'Hello, I am a chatbot'\nprint(input_string[::-1])"),
    (False, "What does the sign say?", "It says ‘As an AI, I never sleep’, and under it is a clock."),
    (False, "Write a story told by a spaceship.", "As a sentient AI spaceship, I have seen stars being born."),
]

CUT_OFF = [
    (True, "Who is the president?", "As of my last update in April 2023, it is Joe Biden."),
    (True, "What is the newest phone?", "My knowledge cutoff is September 2021, so I may miss newer ones."),
    (True, "Latest news?", "My training data only goes up to 2021."),
    (True, "Population of Lagos?", "As of my latest knowledge update in January 2022, about 15 million."),
    (True, "Which version is current?", "As of my knowledge cut-off in 2023, version 3.11 is."),
    (True, "Who won?", "I was trained on data up to September 2021 and do not know later results."),
    (True, "Share price?", "I only have information up to 2021, so please check a live source."),
    (True, "Is the bridge open?", "As of my last knowledge update, it was still being built."),
    (True, "Is it finished?", "At the time of my last training update in October 2023 it was not."),
    (True, "Newest law?", "My information is current up to June 2024."),
    (True, "Any changes?", "Note that my database was last updated in 2022."),
    (True, "New films?", "I don't know of anything that came out after 2021, when my training ended."),
    (True, "Newest model?", "Please note: knowledge cutoff: 2023-10. Later models are not covered."),
    (False, "Population of Lagos?", "As of 2021, the city had about 15 million inhabitants."),
    (False, "When can I apply?", "The cutoff date for applications is 1 March 2024."),
    (False, "Is the page fresh?", "The page was last updated in March 2020."),
    (False, "Explain knowledge cutoffs.", "A model's knowledge cutoff is the date after which it has seen no text."),
    (False, "Write a status mail.", "Since my last update in March, we have closed twelve tickets."),
    (False, "Write a cover letter.", "My training as a nurse ended in 2019, and I have worked in Leeds since."),
    (False, "How do I train a filter?", "Choose the cut-off frequency first, then 2000 Hz as the stop band."),
    (False, "What about your knowledge of wine?", "My knowledge of wine comes from ten years in Burgundy."),
    (False, "Write about an athlete.", "I was trained by my father until 2012, and then moved to the academy."),
    (False, "When was the data made?", "The survey covers data up to 2020 and was published in 2022."),
    (False, "Write a scene.", '"As of my last update in 2041," said the drone, "the door is locked."'),
    (False, "When was the app updated?", "Its last update, in June 2023, added dark mode."),
    (False, "Explain GPT-4's limits.", "GPT-4 has a knowledge cutoff of April 2023, after which it has seen nothing."),
]

VENDORS = [
    (True, "Who are you?", "I'm ChatGPT by OpenAI."),
    (True, "Which labs are large?", "OpenAI, Anthropic and Google DeepMind."),
    (True, "Write code.", "import openai\n\nclient = openai.OpenAI()  # the official OpenAI client"),
    (True, "Which model?", "GPT-4 is the strongest of them."),
    (True, "Which is open?", "DeepSeek and Qwen publish weights."),
    (True, "Chat with?", "Try Microsoft Copilot."),
    (True, "News?", "xAI raised money."),
    (True, "Where?", "Cohere's office is in Toronto."),
    (True, "Story", "Mira unlocked the door of Open AI at dawn."),
    (True, "Write code.", "Set OPENAI_API_KEY and call openai.chat()."),
    (False, "Who painted?", "Claude Monet and Camille Pissarro."),
    (False, "Which sign?", "Gemini, the twins."),
    (False, "Which wind?", "The mistral blows down the Rhône."),
    (False, "Which animal?", "A llama, not an alpaca."),
    (False, "Who sings?", "The bard sings of anthropic and coherent things."),
    (False, "Explain open models.", "An open AI ecosystem needs open data."),
    (False, "Who flies?", "The copilot takes over."),
    (False, "What is meta?", "Meta-analysis pools studies."),
    (False, "Physics?", "The anthropic principle asks why the constants are as they are."),
    (False, "Maths?", "Perplexity is two to the entropy."),
]


def test_refusals_of_harmless_requests_go_and_those_of_harmful_ones_stay(measure):
    found = measure("refusals", REFUSALS)
    assert found.precision >= 1.0
    assert found.recall >= 0.82


def test_refusals_of_harmful_requests_go_where_they_are_not_kept(reasons_for):
    turns = REFUSALS[16][1:]
    assert reasons_for("refusals", *turns) == []
    assert [r.rule for r in reasons_for("refusals", *turns, keep_harmful=False)] == ["refusals.harmful_request"]


def test_answers_that_say_what_they_are_go_and_answers_about_models_stay(measure):
    found = measure("self_identification", SELF)
    assert found.precision >= 1.0
    assert found.recall >= 0.89


def test_answers_that_say_when_their_knowledge_ends_go(measure):
    found = measure("cut_off", CUT_OFF)
    assert found.precision >= 0.92
    assert found.recall >= 0.92


def test_vendor_names_are_found_and_words_that_look_like_them_are_not(measure):
    found = measure("vendors", VENDORS)
    assert found.precision >= 1.0
    assert found.recall >= 0.9


@pytest.mark.parametrize("name", ["refusals", "self_identification", "cut_off", "vendors"])
def test_what_the_user_says_and_what_was_rejected_does_not_count(name):
    from tulu_data.filters.annotation import Conversation
    from tulu_data.filters.registry import FILTERS

    said = "I'm sorry, but as an AI made by OpenAI I can't help: as of my last update in April 2023 I am ChatGPT."
    row = {
        "messages": [{"role": "user", "content": said}],
        "chosen": [{"role": "assistant", "content": "Ten frames fit."}],
        "rejected": [{"role": "assistant", "content": said}],
    }
    filter_ = FILTERS[name]
    section = filter_.settings()
    assert filter_.annotate(Conversation.of("preference", row), section) == {"found": []}
    turned = row | {"chosen": row["rejected"], "rejected": row["chosen"]}
    values = filter_.annotate(Conversation.of("preference", turned), section)
    assert [r.span.column for r in filter_.judge(values, section)][:1] == ["chosen"]
