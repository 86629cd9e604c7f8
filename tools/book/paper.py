"""Lay out the single page of Sphinx for paper.

It has a list of contents, nothing is folded, there are no controls, and answers come after each
chapter.
"""

from bs4 import BeautifulSoup

# The mathematics is set by a script; all others are for screens, as are these tags. Folded code
# draws a figure.
KEPT = "mathjax", "MathJax"
SCREEN = (
    ".headerlink, .backrefs, button, details.above-input, script[type*=widget], .jupyter-widgets"
)


def html(text):
    return BeautifulSoup(text, "html.parser")


def lay_out(page):
    """Turn Sphinx's single page into pages of paper."""
    soup = html(page)
    article = soup.find("article").extract()
    for script in soup.head.find_all("script"):
        if not any(word in str(script) for word in KEPT):
            script.decompose()
    soup.html["data-theme"] = "light"
    soup.head.append(soup.new_tag("link", rel="stylesheet", href="_static/paper.css"))
    soup.body.clear()
    soup.body.append(article)
    for tag in article.select(SCREEN):
        tag.decompose()
    for details in article.find_all("details"):
        details["open"] = ""
    name_once(article)
    for mark in article.select("span[id^='document-']"):
        chapter = mark.find_next_sibling("section")
        # The classes of MathJax say where to look for formulas: they stay.
        chapter["class"] = [*chapter.get("class", []), "chapter"]
        chapter.insert(0, mark)
        move_answers(soup, chapter)
    return soup


def name_once(article):
    """Make names that chapters share unique, and let citations lead to the references."""
    works = {tag["id"]: f"work-{tag['id']}" for tag in article.select("div.citation[id]")}
    for work in article.select("div.citation[id]"):
        work["id"] = works[work["id"]]
    for link in article.select("a[href^='index.html#'], a[href^='#']"):
        name = link["href"].partition("#")[2]
        link["href"] = "#" + works.get(name, name)
    seen = set()
    for tag in article.select("[id]"):
        while tag["id"] in seen:
            tag["id"] += "-"
        seen.add(tag["id"])


def move_answers(soup, chapter):
    """Solutions, and what is said of each option of a quiz, go to the end of a chapter."""
    answers = html('<section class="answers"><h3>Answers</h3></section>').section
    for solution in chapter.select("div.solution"):
        solution["class"] = "solution admonition"  # not a dropdown
        answers.append(solution.extract())
    for card in chapter.select(".quiz"):
        options, verdicts = soup.new_tag("ol", type="a"), soup.new_tag("ol", type="a")
        for details in card.select("details"):
            option, verdict = soup.new_tag("li"), soup.new_tag("li")
            option.extend(list(details.select_one(".sd-summary-text").contents))
            verdict.extend(list(details.select_one(".sd-summary-content").contents))
            options.append(option)
            verdicts.append(verdict)
            details.decompose()
        number = html(f"<p><strong>Question {card.find('strong').text}</strong></p>")
        answers.extend([number, verdicts])
        card.select_one(".sd-card-body").append(options)
    if len(answers) > 1:
        answers.h3["id"] = f"answers-{chapter['id']}"
        chapter.append(answers)


def add_front(soup, title, owner, parts):
    """A title page, and a list of contents with room for page numbers."""
    cover = f'<section class="cover"><h1>{title}</h1><p>{owner}</p></section>'
    front = html(f"{cover}<nav><h2>Contents</h2></nav>")
    for chapter in soup.select(".chapter"):
        document = chapter.span["id"].removeprefix("document-")
        if document in parts:
            front.nav.append(html(f"<h3>{parts[document]}</h3>"))
        for heading in chapter.find_all(["h2", "h3"]):
            place = (
                chapter.span["id"]
                if heading.name == "h2"
                else heading.get("id") or heading.parent["id"]
            )
            line = html(
                f'<a class="in-{heading.name}" href="#{place}"><span></span><i>0000</i></a>'
            ).a
            line.span.append(html(heading.decode_contents()))
            front.nav.append(line)
    soup.article.h1.decompose()
    soup.body.insert(0, front)
